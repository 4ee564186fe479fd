// dx[n, k] = factor·y[n, k]·(dy[n, k] − Σ_j dy[n, j]·y[n, j]). dy, y, dx [N, K], y from softmax. A workgroup a row.

struct Params { N: u32, K: u32, factor: f32 }
@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read> y: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;
@group(0) @binding(3) var<uniform> p: Params;

const LANES = 64u;
var<workgroup> lanes: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let n = wg.y * num.x + wg.x;
  if (n >= p.N) { return; }
  let base = n * p.K;
  var sum = 0.0;
  for (var k = local; k < p.K; k += LANES) { sum += dy[base + k] * y[base + k]; }
  lanes[local] = sum;
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (local < half) { lanes[local] += lanes[local + half]; }
  }
  workgroupBarrier();
  for (var k = local; k < p.K; k += LANES) { dx[base + k] = p.factor * y[base + k] * (dy[base + k] - lanes[0]); }
}
