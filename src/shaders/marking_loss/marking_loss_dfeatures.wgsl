// dfeatures = dloss[b]·(λ·Δ/‖Δ‖ − u), the norm's part 0 where Δ is 0. features, vanilla, carriers [B, d]; dloss, ‖Δ‖ [B].
// One invocation an element.

struct Params { size: u32, d: u32, lambda: f32 }
@group(0) @binding(0) var<storage, read> dloss: array<f32>;
@group(0) @binding(1) var<storage, read> features: array<f32>;
@group(0) @binding(2) var<storage, read> vanilla: array<f32>;
@group(0) @binding(3) var<storage, read> carriers: array<f32>;
@group(0) @binding(4) var<storage, read> distance: array<f32>;
@group(0) @binding(5) var<storage, read_write> dfeatures: array<f32>;
@group(0) @binding(6) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let index = (wg.y * num.x + wg.x) * 64u + local;
  if (index >= p.size) { return; }
  let b = index / p.d;
  let norm = distance[b];
  // Divided by 1 where the norm is 0: no lane ever computes 0/0.
  let direction = (features[index] - vanilla[index]) / select(norm, 1.0, norm == 0.0);
  dfeatures[index] = dloss[b] * (p.lambda * direction - carriers[index]);
}
