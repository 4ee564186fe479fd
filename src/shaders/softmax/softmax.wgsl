// y[n, k] = exp(x[n, k]·factor) / Σ_j exp(x[n, j]·factor). x, y [N, K]. A workgroup a row: strided, then a tree, always in the same order.

struct Params { N: u32, K: u32, factor: f32 }
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> p: Params;

const LANES = 64u;
var<workgroup> lanes: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let n = wg.y * num.x + wg.x;
  if (n >= p.N) { return; }
  let base = n * p.K;

  var maximum = x[base + min(local, p.K - 1u)];
  for (var k = local + LANES; k < p.K; k += LANES) { maximum = max(maximum, x[base + k]); }
  lanes[local] = maximum;
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (local < half) { lanes[local] = max(lanes[local], lanes[local + half]); }
  }
  workgroupBarrier();
  maximum = lanes[0];
  workgroupBarrier();

  var sum = 0.0;
  for (var k = local; k < p.K; k += LANES) { sum += exp((x[base + k] - maximum) * p.factor); }
  lanes[local] = sum;
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (local < half) { lanes[local] += lanes[local + half]; }
  }
  workgroupBarrier();
  // Where the maximum has lost a NaN the sum has it, and with it all of the row.
  for (var k = local; k < p.K; k += LANES) { y[base + k] = exp((x[base + k] - maximum) * p.factor) / lanes[0]; }
}
