// Each image mixed with another of the batch: y[n] = λ·x[n] + (1 − λ)·x[n + shift], and x[n + shift] alone inside a rectangle that
// is the same for all. x, y [N, H, W, C], lambda [1], box [4] (top, left, bottom, right; the last two outside). One invocation an
// element. With the other shift it is its own gradient.

struct Params { size: u32, N: u32, H: u32, W: u32, C: u32, shift: u32 }
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> lambda: array<f32>;
@group(0) @binding(2) var<storage, read> box: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let index = (wg.y * num.x + wg.x) * 64u + local;
  if (index >= p.size) { return; }
  let column = (index / p.C) % p.W;
  let row = (index / (p.C * p.W)) % p.H;
  let image = p.H * p.W * p.C;
  let other = x[((index / image + p.shift) % p.N) * image + index % image];
  let inside = row >= box[0] && column >= box[1] && row < box[2] && column < box[3];
  y[index] = select(lambda[0] * x[index] + (1.0 - lambda[0]) * other, other, inside);
}
