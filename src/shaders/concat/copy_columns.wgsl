// y[r, yFirst + c] = x[r, xFirst + c] for a run of columns of every row; x [R, xColumns], y [R, yColumns]. RUN columns an
// invocation, of which there are `runs` in a row.

const RUN = 1u;

struct Params { size: u32, runs: u32, xColumns: u32, xFirst: u32, yColumns: u32, yFirst: u32 }
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let index = (wg.y * num.x + wg.x) * 64u + local;
  if (index >= p.size) { return; }
  let row = index / p.runs;
  let c = (index % p.runs) * RUN;
  let xBegin = row * p.xColumns + p.xFirst + c;
  let yBegin = row * p.yColumns + p.yFirst + c;
  for (var i = 0u; i < RUN; i++) { y[yBegin + i] = x[xBegin + i]; }
}
