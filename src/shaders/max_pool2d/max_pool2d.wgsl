// y = the maximum of x over a window, x [N, H, W, C], y [N, OH, OW, C]; argmax = where in the window it was, ky·kernel + kx.
// As PyTorch has it: the first of equal maxima, and a NaN wins (the last one where there are several). One invocation an element of y.

struct Params { size: u32, H: u32, W: u32, C: u32, OH: u32, OW: u32, kernel: u32, stride: u32, padding: u32 }
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read_write> argmax: array<f32>;
@group(0) @binding(3) var<uniform> p: Params;

// By its bits: compilers may take v != v for false.
fn isNan(v: f32) -> bool { return (bitcast<u32>(v) & 0x7fffffffu) > 0x7f800000u; }

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let index = (wg.y * num.x + wg.x) * 64u + local;
  if (index >= p.size) { return; }
  let c = index % p.C;
  let pixel = index / p.C;
  let row = pixel / p.OW;
  let image = row / p.OH;
  // The window's corner in padded coordinates, and the part of the window that lies on the image: [first, end).
  let corner = vec2u(row % p.OH, pixel % p.OW) * p.stride;
  let first = max(corner, vec2u(p.padding)) - corner;
  let end = min(vec2u(p.kernel), vec2u(p.H, p.W) + p.padding - corner);

  var best = 0.0;
  var at = 0xffffffffu;  // nothing seen yet
  for (var ky = first.x; ky < end.x; ky++) {
    let base = (image * p.H + corner.x + ky - p.padding) * p.W;
    for (var kx = first.y; kx < end.y; kx++) {
      let v = x[(base + corner.y + kx - p.padding) * p.C + c];
      if (at == 0xffffffffu || v > best || isNan(v)) {
        best = v;
        at = ky * p.kernel + kx;
      }
    }
  }
  y[index] = best;
  argmax[index] = f32(at);
}
