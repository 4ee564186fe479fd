// dx[n, i, c] = dy[n, c] / pixels for every pixel i. dx [N, pixels, C], dy [N, C]. One invocation an element.

struct Params { size: u32, pixels: u32, C: u32 }
@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read_write> dx: array<f32>;
@group(0) @binding(2) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let index = (wg.y * num.x + wg.x) * 64u + local;
  if (index >= p.size) { return; }
  dx[index] = dy[index / (p.pixels * p.C) * p.C + index % p.C] / f32(p.pixels);
}
