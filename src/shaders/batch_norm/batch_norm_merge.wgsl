// From the splits' means and squared deviations to the batch's: saved = (mean, 1/sqrt(var + eps)) by channel, the affine map
// y = x·scale + shift, and the running statistics, which take the unbiased variance (torch.nn.BatchNorm2d).
// One invocation a channel. partial [splits, C], saved [2, C].

struct Params { rows: u32, C: u32, rowsPerSplit: u32, splits: u32, eps: f32, momentum: f32 }
@group(0) @binding(0) var<storage, read> partial_: array<vec2f>;
@group(0) @binding(1) var<storage, read> gamma: array<f32>;
@group(0) @binding(2) var<storage, read> beta: array<f32>;
@group(0) @binding(3) var<storage, read_write> runningMean: array<f32>;
@group(0) @binding(4) var<storage, read_write> runningVar: array<f32>;
@group(0) @binding(5) var<storage, read_write> saved: array<f32>;
@group(0) @binding(6) var<storage, read_write> scale: array<f32>;
@group(0) @binding(7) var<storage, read_write> shift: array<f32>;
@group(0) @binding(8) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let c = (wg.y * num.x + wg.x) * 64u + local;
  if (c >= p.C) { return; }
  let total = f32(p.rows);
  var mean = 0.0;
  for (var s = 0u; s < p.splits; s++) {
    let n = f32(min(p.rowsPerSplit, p.rows - s * p.rowsPerSplit));
    mean += partial_[s * p.C + c].x * (n / total);
  }
  var squares = 0.0;
  for (var s = 0u; s < p.splits; s++) {
    let n = f32(min(p.rowsPerSplit, p.rows - s * p.rowsPerSplit));
    let d = partial_[s * p.C + c].x - mean;
    squares += partial_[s * p.C + c].y + n * d * d;
  }
  let inverse = 1.0 / sqrt(squares / total + p.eps);
  saved[c] = mean;
  saved[p.C + c] = inverse;
  scale[c] = gamma[c] * inverse;
  shift[c] = beta[c] - mean * gamma[c] * inverse;
  runningMean[c] = (1.0 - p.momentum) * runningMean[c] + p.momentum * mean;
  runningVar[c] = (1.0 - p.momentum) * runningVar[c] + p.momentum * (squares / (total - 1.0));
}
