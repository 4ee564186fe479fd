// Sums rows: y[s, c] = Σ_{rows r of split s} x[r, c], x [rows, C], y [splits, C]; rows s·rowsPerSplit … of each split, in order.
// One invocation a sum; neighbours read neighbouring columns.

struct Params { rows: u32, C: u32, rowsPerSplit: u32, splits: u32 }
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let index = (wg.y * num.x + wg.x) * 64u + local;
  if (index >= p.splits * p.C) { return; }
  let c = index % p.C;
  let begin = (index / p.C) * p.rowsPerSplit;
  let end = min(begin + p.rowsPerSplit, p.rows);
  // Four sums side by side: they do not wait for one another, and they round less than one.
  var sum = vec4f();
  var r = begin;
  for (; r + 4u <= end; r += 4u) {
    sum += vec4f(x[r * p.C + c], x[(r + 1u) * p.C + c], x[(r + 2u) * p.C + c], x[(r + 3u) * p.C + c]);
  }
  for (; r < end; r++) { sum.x += x[r * p.C + c]; }
  y[index] = (sum.x + sum.y) + (sum.z + sum.w);
}
