// Weights of Winograd's F(4×4, 3×3): U = G·g·Gᵀ; cf. winograd_input.wgsl.
//
// weight [3, 3, C, O] → u [36, C, O], of the weights as they are or turned by 180°. One invocation one input channel and one `Channels`
// of output.
// Needs: winograd.wgsl

struct Params { size: u32, turned: u32 }  // C·O; 0 or 1
@group(0) @binding(0) var<storage, read> weight: array<Channels>;
@group(0) @binding(1) var<storage, read_write> u: array<Channels>;
@group(0) @binding(2) var<uniform> p: Params;

/** G·g of one column. */
fn transform(g0: Channels, g1: Channels, g2: Channels) -> array<Channels, 6> {
  const atA = 1.0 / (2.0 * A * A * (A * A - B * B));
  const atB = 1.0 / (2.0 * B * B * (B * B - A * A));
  let evenA = atA * (g0 + (A * A) * g2);
  let oddA = (atA * A) * g1;
  let evenB = atB * (g0 + (B * B) * g2);
  let oddB = (atB * B) * g1;
  return array<Channels, 6>((1.0 / (A * A * B * B)) * g0, evenA + oddA, evenA - oddA, evenB + oddB, evenB - oddB, g2);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let index = (wg.y * num.x + wg.x) * 64u + local;
  let step = p.size;
  if (index >= step) { return; }
  let turned = p.turned != 0u;
  var t: array<array<Channels, 6>, 3>;
  for (var kx = 0u; kx < 3u; kx++) {
    var g: array<Channels, 3>;
    for (var ky = 0u; ky < 3u; ky++) {
      let tap = ky * 3u + kx;
      g[ky] = weight[select(tap, 8u - tap, turned) * step + index];
    }
    t[kx] = transform(g[0], g[1], g[2]);
  }
  let six = select(min(p.size, 1u) * 6u, 6u, UNROLLED);
  for (var i = 0u; i < six; i++) {
    let r = transform(t[0][i], t[1][i], t[2][i]);
    for (var j = 0u; j < 6u; j++) { u[index + (i * 6u + j) * step] = r[j]; }
  }
}
