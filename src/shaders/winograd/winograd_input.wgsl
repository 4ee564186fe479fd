// Input of Winograd's F(4×4, 3×3): V = Bᵀ·d·B for every tile d of 6×6 pixels, which overlap by two.
//
// x [N, H, W, C], v [36, tiles, C]; tile (n, ty, tx) begins at pixel (4·ty − pad, 4·tx − pad); pixels outside count as zero.
// One invocation a tile and one `Channels`, which C counts.
// Needs: winograd.wgsl

struct Params { H: u32, W: u32, C: u32, TH: u32, TW: u32, tiles: u32, pad: u32 }
@group(0) @binding(0) var<storage, read> x: array<Channels>;
@group(0) @binding(1) var<storage, read_write> v: array<Channels>;
@group(0) @binding(2) var<uniform> p: Params;

/** Bᵀ·d of one column. */
fn transform(d: array<Channels, 6>) -> array<Channels, 6> {
  let evenA = d[4] - (B * B) * d[2];
  let oddA = A * d[3] - (A * B * B) * d[1];
  let evenB = d[4] - (A * A) * d[2];
  let oddB = B * d[3] - (A * A * B) * d[1];
  return array<Channels, 6>(
    (A * A * B * B) * d[0] - (A * A + B * B) * d[2] + d[4],
    evenA + oddA,
    evenA - oddA,
    evenB + oddB,
    evenB - oddB,
    (A * A * B * B) * d[1] - (A * A + B * B) * d[3] + d[5],
  );
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let index = (wg.y * num.x + wg.x) * 64u + local;
  if (index >= p.tiles * p.C) { return; }
  let c = index % p.C;
  let tile = index / p.C;
  let x0 = i32((tile % p.TW) * 4u) - i32(p.pad);
  let y0 = i32(((tile / p.TW) % p.TH) * 4u) - i32(p.pad);
  let n = tile / (p.TW * p.TH);

  var t: array<array<Channels, 6>, 6>;
  for (var j = 0; j < 6; j++) {
    var d: array<Channels, 6>;
    for (var i = 0; i < 6; i++) {
      let iy = y0 + i;
      let ix = x0 + j;
      let inside = iy >= 0 && iy < i32(p.H) && ix >= 0 && ix < i32(p.W);
      d[i] = select(Channels(), x[select(0u, ((n * p.H + u32(iy)) * p.W + u32(ix)) * p.C + c, inside)], inside);
    }
    t[j] = transform(d);
  }
  let step = p.tiles * p.C;
  let six = select(min(p.tiles, 1u) * 6u, 6u, UNROLLED);
  for (var i = 0u; i < six; i++) {
    let r = transform(array<Channels, 6>(t[0][i], t[1][i], t[2][i], t[3][i], t[4][i], t[5][i]));
    for (var j = 0u; j < 6u; j++) { v[index + (i * 6u + j) * step] = r[j]; }
  }
}
