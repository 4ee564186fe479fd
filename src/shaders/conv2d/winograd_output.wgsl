// Result of Winograd's F(4×4, 3×3): y = Aᵀ·m·A for every tile, with bias, residual and ReLU; cf. winograd_input.wgsl.
//
// m [36, tiles, O], y [N, GH, GW, O]; tile (n, ty, tx) holds the results (4·ty …, 4·tx …). One invocation a tile and four
// channels.

// Bits of `epilogue`: given with each launch, as every variant takes a CPU adapter seconds to compile.
const BIAS = 1u;
const RESIDUAL = 2u;
const RELU = 4u;

struct Params { epilogue: u32, GH: u32, GW: u32, O: u32, TH: u32, TW: u32, tiles: u32 }
@group(0) @binding(0) var<storage, read> m: array<vec4f>;
@group(0) @binding(1) var<storage, read> bias: array<vec4f>;
@group(0) @binding(2) var<storage, read> residual: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(4) var<uniform> p: Params;

const A = 0.625;
const B = 1.25;

/** Aᵀ·m of one column. */
fn transform(m: array<vec4f, 6>) -> array<vec4f, 4> {
  let evenA = m[1] + m[2];
  let oddA = m[1] - m[2];
  let evenB = m[3] + m[4];
  let oddB = m[3] - m[4];
  return array<vec4f, 4>(
    m[0] + evenA + evenB,
    A * oddA + B * oddB,
    (A * A) * evenA + (B * B) * evenB,
    (A * A * A) * oddA + (B * B * B) * oddB + m[5],
  );
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let index = (wg.y * num.x + wg.x) * 64u + local;
  let quads = p.O / 4u;
  if (index >= p.tiles * quads) { return; }
  let quad = index % quads;
  let tile = index / quads;
  let x0 = (tile % p.TW) * 4u;
  let y0 = ((tile / p.TW) % p.TH) * 4u;
  let n = tile / (p.TW * p.TH);

  var offset: vec4f;
  if ((p.epilogue & BIAS) != 0u) { offset = bias[quad]; }
  var t: array<array<vec4f, 4>, 6>;
  for (var j = 0u; j < 6u; j++) {
    var c: array<vec4f, 6>;
    for (var i = 0u; i < 6u; i++) { c[i] = m[((i * 6u + j) * p.tiles + tile) * quads + quad]; }
    t[j] = transform(c);
  }
  let cut = (p.epilogue & (RELU | RESIDUAL)) == RELU;
  for (var i = 0u; i < 4u; i++) {
    let r = transform(array<vec4f, 6>(t[0][i], t[1][i], t[2][i], t[3][i], t[4][i], t[5][i]));
    for (var j = 0u; j < 4u; j++) {
      if (y0 + i < p.GH && x0 + j < p.GW) {
        var value = r[j] + offset;
        if (cut) { value = select(value, vec4f(), value <= vec4f()); }
        y[((n * p.GH + y0 + i) * p.GW + x0 + j) * quads + quad] = value;
      }
    }
  }
  if ((p.epilogue & RESIDUAL) != 0u) {
    // A loop of its own over what was just written, which is not unrolled: less to compile.
    for (var iy = y0; iy < min(y0 + 4u, p.GH); iy++) {
      for (var ix = x0; ix < min(x0 + 4u, p.GW); ix++) {
        let at = ((n * p.GH + iy) * p.GW + ix) * quads + quad;
        var value = y[at] + residual[at];
        if ((p.epilogue & RELU) != 0u) { value = select(value, vec4f(), value <= vec4f()); }
        y[at] = value;
      }
    }
  }
}
