// y = the mean of x over window (i, j) of OH × OW that cover the image: rows floor(i·H/OH) … ceil((i+1)·H/OH), columns likewise.
// x [N, H, W, C], y [N, OH, OW, C]. One invocation an element of y.

struct Params { size: u32, H: u32, W: u32, C: u32, OH: u32, OW: u32 }
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let index = (wg.y * num.x + wg.x) * 64u + local;
  if (index >= p.size) { return; }
  let c = index % p.C;
  let pixel = index / p.C;
  let row = pixel / p.OW;
  let image = row / p.OH;
  let extent = vec2u(p.H, p.W);
  let windows = vec2u(p.OH, p.OW);
  let window = vec2u(row % p.OH, pixel % p.OW);
  let first = window * extent / windows;
  let end = ((window + 1u) * extent + windows - 1u) / windows;

  var sum = 0.0;
  for (var iy = first.x; iy < end.x; iy++) {
    let base = (image * p.H + iy) * p.W;
    for (var ix = first.y; ix < end.y; ix++) { sum += x[(base + ix) * p.C + c]; }
  }
  y[index] = sum / f32((end.x - first.x) * (end.y - first.y));
}
