// Result of Winograd's F(4×4, 3×3): y = Aᵀ·m·A for every tile, with bias, residual and ReLU; cf. winograd_input.wgsl.
//
// m [36, tiles, O], y [N, GH, GW, O]; tile (n, ty, tx) holds the results (4·ty …, 4·tx …). One invocation a tile and four
// channels. Given: HAS_BIAS, HAS_RESIDUAL, RELU.

struct Params { GH: u32, GW: u32, O: u32, TH: u32, TW: u32, tiles: u32 }
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
  if (HAS_BIAS) { offset = bias[quad]; }
  var t: array<array<vec4f, 4>, 6>;
  for (var j = 0u; j < 6u; j++) {
    var c: array<vec4f, 6>;
    for (var i = 0u; i < 6u; i++) { c[i] = m[((i * 6u + j) * p.tiles + tile) * quads + quad]; }
    t[j] = transform(c);
  }
  for (var i = 0u; i < 4u; i++) {
    let r = transform(array<vec4f, 6>(t[0][i], t[1][i], t[2][i], t[3][i], t[4][i], t[5][i]));
    for (var j = 0u; j < 4u; j++) {
      if (y0 + i < p.GH && x0 + j < p.GW) {
        let at = ((n * p.GH + y0 + i) * p.GW + x0 + j) * quads + quad;
        var value = r[j] + offset;
        if (HAS_RESIDUAL) { value += residual[at]; }
        if (RELU) { value = select(value, vec4f(), value <= vec4f()); }
        y[at] = value;
      }
    }
  }
}
