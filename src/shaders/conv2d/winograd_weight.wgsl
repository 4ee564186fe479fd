// Weights of Winograd's F(4×4, 3×3): U = G·g·Gᵀ; cf. winograd_input.wgsl.
//
// weight [3, 3, C, O] → u [36, C, O], or for the gradient with respect to x (FLIP) [36, O, C] of the weights turned by 180°.
// One invocation one input and four output channels of u. Given: FLIP.

struct Params { C: u32, O: u32 }
@group(0) @binding(0) var<storage, read> weight: array<f32>;
@group(0) @binding(1) var<storage, read_write> u: array<vec4f>;
@group(0) @binding(2) var<uniform> p: Params;

const A = 0.625;
const B = 1.25;

/** G·g of one column. */
fn transform(g0: vec4f, g1: vec4f, g2: vec4f) -> array<vec4f, 6> {
  const atA = 1.0 / (2.0 * A * A * (A * A - B * B));
  const atB = 1.0 / (2.0 * B * B * (B * B - A * A));
  let evenA = atA * (g0 + (A * A) * g2);
  let oddA = (atA * A) * g1;
  let evenB = atB * (g0 + (B * B) * g2);
  let oddB = (atB * B) * g1;
  return array<vec4f, 6>((1.0 / (A * A * B * B)) * g0, evenA + oddA, evenA - oddA, evenB + oddB, evenB - oddB, g2);
}

/** The four weights of a tap that belong to invocation (row, quad). */
fn load(ky: u32, kx: u32, row: u32, quad: u32) -> vec4f {
  if (FLIP) {
    let at = ((2u - ky) * 3u + 2u - kx) * p.C * p.O + quad * 4u * p.O + row;
    return vec4f(weight[at], weight[at + p.O], weight[at + 2u * p.O], weight[at + 3u * p.O]);
  }
  let at = ((ky * 3u + kx) * p.C + row) * p.O + quad * 4u;
  return vec4f(weight[at], weight[at + 1u], weight[at + 2u], weight[at + 3u]);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let index = (wg.y * num.x + wg.x) * 64u + local;
  let rows = select(p.C, p.O, FLIP);
  let quads = select(p.O, p.C, FLIP) / 4u;
  if (index >= rows * quads) { return; }
  // Neighbours read neighbouring weights.
  let row = select(index / quads, index % rows, FLIP);
  let quad = select(index % quads, index / rows, FLIP);

  var t: array<array<vec4f, 6>, 3>;
  for (var kx = 0u; kx < 3u; kx++) { t[kx] = transform(load(0u, kx, row, quad), load(1u, kx, row, quad), load(2u, kx, row, quad)); }
  for (var i = 0u; i < 6u; i++) {
    let r = transform(t[0][i], t[1][i], t[2][i]);
    for (var j = 0u; j < 6u; j++) { u[((i * 6u + j) * rows + row) * quads + quad] = r[j]; }
  }
}
