// y[first + i] = value i, for up to 16 values that come as parameters. One invocation a value.

struct Params {
  first: u32, count: u32,
  v0: f32, v1: f32, v2: f32, v3: f32, v4: f32, v5: f32, v6: f32, v7: f32,
  v8: f32, v9: f32, v10: f32, v11: f32, v12: f32, v13: f32, v14: f32, v15: f32,
}
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(0) @binding(1) var<uniform> p: Params;

@compute @workgroup_size(16)
fn main(@builtin(local_invocation_index) local: u32) {
  var values = array<f32, 16>(
    p.v0, p.v1, p.v2, p.v3, p.v4, p.v5, p.v6, p.v7, p.v8, p.v9, p.v10, p.v11, p.v12, p.v13, p.v14, p.v15,
  );
  if (local < p.count) { y[p.first + local] = values[local]; }
}
