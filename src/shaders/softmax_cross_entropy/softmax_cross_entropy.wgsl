// loss[n] = scale · Σ_k t[n, k]·(log Σ_j exp(logits[n, j]) − logits[n, k]) with t the targets. logits [N, K], loss [N],
// saved [N, 3]: what the gradient needs of a row, its maximum, Σ exp(logits − maximum) and Σ t.
// targets: SOFT f32 [N, K], else u32 labels [N], t being 1 at the label. A label that is no class makes its row NaN.
// A workgroup a row: strided, then a tree, always in the same order.

const SOFT = false;

struct Params { N: u32, K: u32, scale: f32 }
@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> targets: array<u32>;
@group(0) @binding(2) var<storage, read_write> loss: array<f32>;
@group(0) @binding(3) var<storage, read_write> saved: array<f32>;
@group(0) @binding(4) var<uniform> p: Params;

const LANES = 64u;
var<workgroup> maxima: array<f32, LANES>;
var<workgroup> sums: array<vec3f, LANES>;  // Σ exp(logits − maximum), Σ t, Σ t·(logits − maximum)

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let n = wg.y * num.x + wg.x;
  if (n >= p.N) { return; }
  let base = n * p.K;

  var maximum = logits[base + min(local, p.K - 1u)];
  for (var k = local + LANES; k < p.K; k += LANES) { maximum = max(maximum, logits[base + k]); }
  maxima[local] = maximum;
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (local < half) { maxima[local] = max(maxima[local], maxima[local + half]); }
  }
  workgroupBarrier();
  maximum = maxima[0];

  var sum = vec3f();
  for (var k = local; k < p.K; k += LANES) {
    // A NaN that the maximum may have lost comes back here.
    let z = logits[base + k] - maximum;
    sum.x += exp(z);
    if (SOFT) {
      let t = bitcast<f32>(targets[base + k]);
      sum += vec3f(0.0, t, t * z);
    } else if (targets[n] == k) {
      sum += vec3f(0.0, 1.0, z);
    }
  }
  sums[local] = sum;
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (local < half) { sums[local] += sums[local + half]; }
  }
  if (local == 0u) {
    sum = sums[0];
    if (!SOFT && targets[n] >= p.K) {
      var nan = 0x7fc00000u;  // not a constant expression, which may not be NaN
      sum.y = bitcast<f32>(nan);
    }
    loss[n] = p.scale * (sum.y * log(sum.x) - sum.z);
    saved[n * 3u] = maximum;
    saved[n * 3u + 1u] = sum.x;
    saved[n * 3u + 2u] = sum.y;
  }
}
