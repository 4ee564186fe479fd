// dx = the sum, over the windows that cover this element, of dy / the window's pixels. dx [N, H, W, C], dy [N, OH, OW, C].
// Row i lies in windows floor(i·OH/H) … ceil((i+1)·OH/H), columns likewise. A gather, so that sums have one order: one
// invocation an element of dx.

struct Params { size: u32, H: u32, W: u32, C: u32, OH: u32, OW: u32 }
@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read_write> dx: array<f32>;
@group(0) @binding(2) var<uniform> p: Params;

// Pixels of window i of `windows` along an extent.
fn pixels(i: u32, extent: u32, windows: u32) -> u32 {
  return ((i + 1u) * extent + windows - 1u) / windows - i * extent / windows;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let index = (wg.y * num.x + wg.x) * 64u + local;
  if (index >= p.size) { return; }
  let c = index % p.C;
  let pixel = index / p.C;
  let row = pixel / p.W;
  let image = row / p.H;
  let extent = vec2u(p.H, p.W);
  let windows = vec2u(p.OH, p.OW);
  let position = vec2u(row % p.H, pixel % p.W);
  let first = position * windows / extent;
  let end = ((position + 1u) * windows + extent - 1u) / extent;

  var sum = 0.0;
  for (var oy = first.x; oy < end.x; oy++) {
    let height = pixels(oy, p.H, p.OH);
    for (var ox = first.y; ox < end.y; ox++) {
      sum += dy[((image * p.OH + oy) * p.OW + ox) * p.C + c] / f32(height * pixels(ox, p.W, p.OW));
    }
  }
  dx[index] = sum;
}
