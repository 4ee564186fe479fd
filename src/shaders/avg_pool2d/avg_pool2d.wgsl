// y = the sum of x over a window / kernel², padding counting as zeros. x [N, H, W, C], y [N, OH, OW, C].
// One invocation an element of y.

struct Params { size: u32, H: u32, W: u32, C: u32, OH: u32, OW: u32, kernel: u32, stride: u32, padding: u32 }
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
  // The window in padded coordinates, without the part that is padding: [first, end).
  let corner = vec2u(row % p.OH, pixel % p.OW) * p.stride;
  let first = max(corner, vec2u(p.padding));
  let end = min(corner + p.kernel, vec2u(p.H, p.W) + p.padding);

  var sum = 0.0;
  for (var py = first.x; py < end.x; py++) {
    let base = (image * p.H + py - p.padding) * p.W;
    for (var px = first.y; px < end.y; px++) { sum += x[(base + px - p.padding) * p.C + c]; }
  }
  y[index] = sum / f32(p.kernel * p.kernel);
}
