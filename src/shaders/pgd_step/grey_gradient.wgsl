// For grey images that a network sees in three channels: y is the gradient x [R, 3], where the first `grey[0]` pixels have one by which
// a step moves all channels alike, by the mean of what each would have moved. One invocation a pixel.

struct Params { pixels: u32 }
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> step: array<f32>;
@group(0) @binding(2) var<storage, read> grey: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let pixel = (wg.y * num.x + wg.x) * 64u + local;
  if (pixel >= p.pixels) { return; }
  let at = pixel * 3u;
  var g = vec3f(x[at], x[at + 1u], x[at + 2u]);
  if (pixel < grey[0]) {
    let steps = vec3f(step[0], step[1], step[2]);
    let mean = dot(g, steps) / 3.0;
    g = select(vec3f(), vec3f(mean) / steps, steps > vec3f());
  }
  y[at] = g.x;
  y[at + 1u] = g.y;
  y[at + 2u] = g.z;
}
