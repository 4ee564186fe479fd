// For the gradient with respect to the weights by Winograd's F(4×4, 3×3): A·dy·Aᵀ for every tile; cf. winograd_input.wgsl.
//
// dy [N, GH, GW, O], m [36, tiles, O]; tile (n, ty, tx) holds dy (4·ty …, 4·tx …). One invocation a tile and one `Channels`, which O
// counts.
// Needs: winograd.wgsl

struct Params { GH: u32, GW: u32, O: u32, TH: u32, TW: u32, tiles: u32 }
@group(0) @binding(0) var<storage, read> dy: array<Channels>;
@group(0) @binding(1) var<storage, read_write> m: array<Channels>;
@group(0) @binding(2) var<uniform> p: Params;

/** A·d of one column. */
fn transform(d0: Channels, d1: Channels, d2: Channels, d3: Channels) -> array<Channels, 6> {
  let evenA = d0 + (A * A) * d2;
  let oddA = A * d1 + (A * A * A) * d3;
  let evenB = d0 + (B * B) * d2;
  let oddB = B * d1 + (B * B * B) * d3;
  return array<Channels, 6>(d0, evenA + oddA, evenA - oddA, evenB + oddB, evenB - oddB, d3);
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

  var t: array<array<Channels, 6>, 4>;
  for (var j = 0u; j < 4u; j++) {
    var d: array<Channels, 4>;
    for (var i = 0u; i < 4u; i++) {
      let inside = y0 + i < p.GH && x0 + j < p.GW;
      d[i] = select(Channels(), dy[select(0u, ((n * p.GH + y0 + i) * p.GW + x0 + j) * p.O + c, inside)], inside);
    }
    t[j] = transform(d[0], d[1], d[2], d[3]);
  }
  let step = p.tiles * p.O;
  let six = select(min(p.tiles, 1u) * 6u, 6u, UNROLLED);
  for (var i = 0u; i < six; i++) {
    let r = transform(t[0][i], t[1][i], t[2][i], t[3][i]);
    for (var j = 0u; j < 6u; j++) { m[index + (i * 6u + j) * step] = r[j]; }
  }
}
