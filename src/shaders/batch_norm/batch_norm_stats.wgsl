// Mean and sum of squared deviations of every channel over the rows of a split: partial[split, c] = (mean, Σ (x − mean)²).
// x [R, C]. One invocation a split and channel; neighbours read neighbouring channels.
//
// Sums are taken of x minus the split's first row: what is squared is then of the size of the spread, not of the mean, and
// nothing is lost where the mean is large.

struct Params { rows: u32, C: u32, rowsPerSplit: u32, splits: u32 }
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> partial_: array<vec2f>;
@group(0) @binding(2) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let index = (wg.y * num.x + wg.x) * 64u + local;
  if (index >= p.splits * p.C) { return; }
  let c = index % p.C;
  let begin = (index / p.C) * p.rowsPerSplit;
  let end = min(begin + p.rowsPerSplit, p.rows);
  let shift = x[begin * p.C + c];
  var sum = vec4f();
  var squares = vec4f();
  var r = begin;
  for (; r + 4u <= end; r += 4u) {
    let v = vec4f(x[r * p.C + c], x[(r + 1u) * p.C + c], x[(r + 2u) * p.C + c], x[(r + 3u) * p.C + c]) - shift;
    sum += v;
    squares = fma(v, v, squares);
  }
  for (; r < end; r++) {
    let v = x[r * p.C + c] - shift;
    sum.x += v;
    squares.x = fma(v, v, squares.x);
  }
  let n = f32(end - begin);
  let s = (sum.x + sum.y) + (sum.z + sum.w);
  let q = (squares.x + squares.y) + (squares.z + squares.w);
  partial_[index] = vec2f(shift + s / n, max(q - s * (s / n), 0.0));
}
