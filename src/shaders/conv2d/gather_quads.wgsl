// How kernels with tiles in workgroup memory walk over a gather: the inner extent in quads (four input channels of one tap), four pixels
// at once. A piece of conv2d_tiled.wgsl and conv2d_matrix.wgsl.
// Needs: gather.wgsl

const SLICE = 4u;  // quads of the inner extent a turn
const PRODUCT = false;  // images have one pixel and kernels one tap: divisions would be half of what short sums take

@group(0) @binding(5) var<storage, read> x: array<vec4f>;
@group(0) @binding(6) var<storage, read> weight: array<vec4f>;

const OUTSIDE = -0x40000000;

/** A quad of the inner extent: its number, its tap, and its place among the quads of a pixel. */
struct Quad { index: u32, jy: u32, jx: u32, c: u32 }

fn quadAt(index: u32, quads: u32) -> Quad {
  let tap = index / quads;
  return Quad(index, tap / p.tapsX, tap % p.tapsX, index % quads);
}

/** The same place in the next turn. */
fn advance(quad: Quad, quads: u32) -> Quad {
  var next = quad;
  next.index += SLICE;
  next.c += SLICE;
  while (next.c >= quads) {
    next.c -= quads;
    next.jx++;
    if (next.jx == p.tapsX) {
      next.jx = 0u;
      next.jy++;
    }
  }
  return next;
}

/** Four pixels: the first row of their image, and where the first tap lies in it, OUTSIDE for one that does not exist. */
struct Pixels { row: vec4u, iy: vec4i, ix: vec4i }

/** Pixels `own` of a batch. */
fn pixelsAt(own: vec4u, batch: u32) -> Pixels {
  let exists = own < vec4u(p.pixels);
  let pixel = batch * p.pixels + select(vec4u(), own, exists);
  if (PRODUCT) { return Pixels(pixel, select(vec4i(OUTSIDE), vec4i(), exists), vec4i()); }
  let gx = pixel % p.GW;
  let gy = (pixel / p.GW) % p.GH;
  return Pixels(
    (pixel / (p.GW * p.GH)) * p.H,
    select(vec4i(OUTSIDE), vec4i(gy * p.inStride) + p.originY, exists),
    vec4i(gx * p.inStride) + p.originX,
  );
}

/** Where a quad of four pixels lies in x, with 1 where it is inside the image. */
struct Places { at: vec4u, inside: vec4<bool> }

fn placesOf(pixels: Pixels, quad: Quad, end: u32, quads: u32) -> Places {
  let iy = vec4u(pixels.iy + i32(quad.jy) * p.tapStep);
  let ix = vec4u(pixels.ix + i32(quad.jx) * p.tapStep);
  // What is negative is a large number here.
  let inside = (iy < vec4u(p.H)) & (ix < vec4u(p.W)) & vec4<bool>(quad.index < end);
  return Places(select(vec4u(), ((pixels.row + iy) * p.W + ix) * quads + quad.c, inside), inside);
}

fn load(at: u32, inside: bool) -> vec4f { return select(vec4f(), x[at], inside); }

/** The pixel of y that pixel `pixel` of a batch goes to, or of the sums of a split. */
fn targetOf(pixel: u32, batch: u32, split: u32) -> u32 {
  let q = batch * p.pixels + pixel;
  if (!PRODUCT && p.splits == 1u) { return placeOf(q); }
  return split * p.batches * p.pixels + q;
}
