// y = the maximum of x over a window, x [N, H, W, C], y [N, OH, OW, C]; argmax = where in the window it was, ky·kernel + kx.
// As PyTorch has it: the first of equal maxima, and a NaN wins (the last one where there are several). One invocation one
// `Channels` of y.

alias Channels = vec4f;
alias Bits = vec4u;  // of the size of `Channels`

struct Params { size: u32, H: u32, W: u32, C: u32, OH: u32, OW: u32, kernel: u32, stride: u32, padding: u32 }  // size and C in `Channels`
@group(0) @binding(0) var<storage, read> x: array<Channels>;
@group(0) @binding(1) var<storage, read_write> y: array<Channels>;
@group(0) @binding(2) var<storage, read_write> argmax: array<Channels>;
@group(0) @binding(3) var<uniform> p: Params;

// By its bits: compilers may take v != v for false.
fn nanBits(v: Channels) -> Bits { return bitcast<Bits>(v) & Bits(0x7fffffffu); }

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

  var best: Channels;
  var at = Channels(-1.0);  // nothing seen yet
  for (var ky = first.x; ky < end.x; ky++) {
    let base = (image * p.H + corner.x + ky - p.padding) * p.W;
    for (var kx = first.y; kx < end.y; kx++) {
      let v = x[(base + corner.y + kx - p.padding) * p.C + c];
      let better = (at < Channels()) | (v > best) | (nanBits(v) > Bits(0x7f800000u));
      best = select(best, v, better);
      at = select(at, Channels(f32(ky * p.kernel + kx)), better);
    }
  }
  y[index] = best;
  argmax[index] = at;
}
