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

fn meansAt(at: u32) -> vec4f {
  return vec4f(partial_[at].x, partial_[at + p.C].x, partial_[at + 2u * p.C].x, partial_[at + 3u * p.C].x);
}

fn squaresAt(at: u32) -> vec4f {
  return vec4f(partial_[at].y, partial_[at + p.C].y, partial_[at + 2u * p.C].y, partial_[at + 3u * p.C].y);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let c = (wg.y * num.x + wg.x) * 64u + local;
  if (c >= p.C) { return; }
  let total = f32(p.rows);
  // All splits but the last are whole. Four at a time: their loads do not wait for one another.
  let whole = f32(p.rowsPerSplit);
  let last = p.splits - 1u;
  let lastRows = f32(p.rows - last * p.rowsPerSplit);
  let lastPart = partial_[last * p.C + c];
  var means = vec4f();
  var s = 0u;
  for (; s + 4u <= last; s += 4u) { means += meansAt(s * p.C + c); }
  for (; s < last; s++) { means.x += partial_[s * p.C + c].x; }
  let mean = ((means.x + means.y) + (means.z + means.w)) * (whole / total) + lastPart.x * (lastRows / total);
  var deviations = vec4f();
  s = 0u;
  for (; s + 4u <= last; s += 4u) {
    let at = s * p.C + c;
    let d = meansAt(at) - mean;
    deviations += fma(whole * d, d, squaresAt(at));
  }
  for (; s < last; s++) {
    let part = partial_[s * p.C + c];
    let d = part.x - mean;
    deviations.x += part.y + whole * d * d;
  }
  let d = lastPart.x - mean;
  let squares = ((deviations.x + deviations.y) + (deviations.z + deviations.w)) + (lastPart.y + lastRows * d * d);
  let inverse = 1.0 / sqrt(squares / total + p.eps);
  saved[c] = mean;
  saved[p.C + c] = inverse;
  scale[c] = gamma[c] * inverse;
  shift[c] = beta[c] - mean * gamma[c] * inverse;
  runningMean[c] = (1.0 - p.momentum) * runningMean[c] + p.momentum * mean;
  runningVar[c] = (1.0 - p.momentum) * runningVar[c] + p.momentum * (squares / (total - 1.0));
}
