// Per image b, with Δ = features[b] − vanilla[b]: gain = Δ·u, distance = ‖Δ‖, loss = λ·distance − gain.
// features, vanilla, carriers [B, d]; loss, gain, distance [B]. A workgroup an image: strided sums, then a tree, always in the same order.

struct Params { B: u32, d: u32, lambda: f32 }
@group(0) @binding(0) var<storage, read> features: array<f32>;
@group(0) @binding(1) var<storage, read> vanilla: array<f32>;
@group(0) @binding(2) var<storage, read> carriers: array<f32>;
@group(0) @binding(3) var<storage, read_write> loss: array<f32>;
@group(0) @binding(4) var<storage, read_write> gain: array<f32>;
@group(0) @binding(5) var<storage, read_write> distance: array<f32>;
@group(0) @binding(6) var<uniform> p: Params;

var<workgroup> sums: array<vec2f, 64>;  // Δ·u and Δ·Δ

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let b = wg.y * num.x + wg.x;
  if (b >= p.B) { return; }
  var sum = vec2f();
  for (var i = b * p.d + local; i < (b + 1u) * p.d; i += 64u) {
    let delta = features[i] - vanilla[i];
    sum += delta * vec2f(carriers[i], delta);
  }
  sums[local] = sum;
  for (var half = 32u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (local < half) { sums[local] += sums[local + half]; }
  }
  if (local == 0u) {
    let norm = sqrt(sums[0].y);
    loss[b] = p.lambda * norm - sums[0].x;
    gain[b] = sums[0].x;
    distance[b] = norm;
  }
}
