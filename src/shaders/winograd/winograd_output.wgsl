// Result of Winograd's F(4×4, 3×3): y = Aᵀ·m·A for every tile, with bias, residual and ReLU; cf. winograd_input.wgsl.
//
// m [36, tiles, O], y [N, GH, GW, O]; tile (n, ty, tx) holds the results (4·ty …, 4·tx …). One invocation a tile and one `Channels`,
// which O counts.
// Needs: winograd.wgsl, ../conv2d/epilogue.wgsl

struct Params { epilogue: u32, GH: u32, GW: u32, O: u32, TH: u32, TW: u32, tiles: u32 }
@group(0) @binding(4) var<uniform> p: Params;
@group(0) @binding(5) var<storage, read> m: array<Channels>;

/** Aᵀ·m of one column. */
fn transform(m: array<Channels, 6>) -> array<Channels, 4> {
  let evenA = m[1] + m[2];
  let oddA = m[1] - m[2];
  let evenB = m[3] + m[4];
  let oddB = m[3] - m[4];
  return array<Channels, 4>(
    m[0] + evenA + evenB,
    A * oddA + B * oddB,
    (A * A) * evenA + (B * B) * evenB,
    (A * A * A) * oddA + (B * B * B) * oddB + m[5],
  );
}

/** What column j of Aᵀ·m counts in each column of y: the powers of its point, which is 0, ±A, ±B or infinity. */
fn powersOf(j: u32) -> vec4f {
  if (j == 5u) { return vec4f(0.0, 0.0, 0.0, 1.0); }
  let size = select(select(0.0, A, j > 0u), B, j > 2u);
  let point = select(size, -size, j % 2u == 0u);
  return vec4f(1.0, point, point * point, point * point * point);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let index = (wg.y * num.x + wg.x) * 64u + local;
  if (index >= p.tiles * p.O) { return; }
  let c = index % p.O;
  let tile = index / p.O;
  let x0 = (tile % p.TW) * 4u;
  let y0 = ((tile / p.TW) % p.TH) * 4u;
  let n = tile / (p.TW * p.TH);

  var offset: Channels;
  if ((p.epilogue & BIAS) != 0u) { offset = bias[c]; }
  // One column after the other, each added to all results that it counts in, and one result after the other: every load or store
  // in the source is some hundred instructions on a CPU adapter.
  var sums: array<Channels, 16>;
  for (var k = 0u; k < 16u; k++) { sums[k] = offset; }
  let step = p.tiles * p.O;
  let row = 6u * step;
  var j = 0u;
  for (var at = index; at < row; at += step) {
    let t = transform(array<Channels, 6>(m[at], m[at + row], m[at + 2u * row], m[at + 3u * row], m[at + 4u * row], m[at + 5u * row]));
    let powers = powersOf(j);
    for (var i = 0u; i < 4u; i++) {
      for (var k = 0u; k < 4u; k++) { sums[i * 4u + k] += powers[k] * t[i]; }
    }
    j++;
  }
  var results = sums;  // what a loop's variable addresses lies in memory
  let four = select(min(p.tiles, 1u) * 4u, 4u, UNROLLED);
  for (var i = 0u; i < four; i++) {
    for (var k = 0u; k < four; k++) {
      if (y0 + i >= p.GH || x0 + k >= p.GW) { continue; }
      let at = ((n * p.GH + y0 + i) * p.GW + x0 + k) * p.O + c;
      y[at] = finish(p.epilogue, results[i * 4u + k], at);
    }
  }
}
