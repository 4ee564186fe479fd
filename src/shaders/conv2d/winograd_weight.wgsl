// Weights of Winograd's F(4×4, 3×3): U = G·g·Gᵀ; cf. winograd_input.wgsl.
//
// weight [3, 3, C, O] → u [36, C, O], or for the gradient with respect to x (FLIP) [36, O, C] of the weights turned by 180°.
// One invocation one row and four columns of u, or with FLIP, which swaps rows and columns, four rows. Given: FLIP.

struct Params { C: u32, O: u32 }
@group(0) @binding(0) var<storage, read> weight: array<vec4f>;
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

fn put(g: array<vec4f, 9>, row: u32, quad: u32, rows: u32, quads: u32) {
  var t: array<array<vec4f, 6>, 3>;
  for (var kx = 0u; kx < 3u; kx++) { t[kx] = transform(g[kx], g[3u + kx], g[6u + kx]); }
  for (var i = 0u; i < 6u; i++) {
    let r = transform(t[0][i], t[1][i], t[2][i]);
    for (var j = 0u; j < 6u; j++) { u[((i * 6u + j) * rows + row) * quads + quad] = r[j]; }
  }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let index = (wg.y * num.x + wg.x) * 64u + local;
  let quadsOut = p.O / 4u;
  if (FLIP) {
    // A block of 4×4 of every tap, turned over in registers; neighbours write neighbouring columns.
    let quadsIn = p.C / 4u;
    if (index >= quadsIn * quadsOut) { return; }
    let c = index % quadsIn;
    let o = index / quadsIn;
    var block: array<mat4x4f, 9>;
    for (var tap = 0u; tap < 9u; tap++) {
      let at = ((8u - tap) * p.C + c * 4u) * quadsOut + o;
      block[tap] = transpose(mat4x4f(weight[at], weight[at + quadsOut], weight[at + 2u * quadsOut], weight[at + 3u * quadsOut]));
    }
    for (var e = 0u; e < 4u; e++) {
      var g: array<vec4f, 9>;
      for (var tap = 0u; tap < 9u; tap++) { g[tap] = block[tap][e]; }
      put(g, o * 4u + e, c, p.O, quadsIn);
    }
  } else {
    if (index >= p.C * quadsOut) { return; }
    var g: array<vec4f, 9>;
    for (var tap = 0u; tap < 9u; tap++) { g[tap] = weight[tap * p.C * quadsOut + index]; }
    put(g, index / quadsOut, index % quadsOut, p.C, quadsOut);
  }
}
