// Parameters of a gather convolution as an implicit matrix product. A piece of conv2d_*.wgsl and conv2d_splits.wgsl.
//
//   y[n, gy*outStride+phaseY, gx*outStride+phaseX, o] = Σ_taps Σ_c x[n, iy, ix, c] · weight[ky, kx, c, o]
//     iy = gy*inStride + originY + jy*tapStep      ky = firstKy + jy*kernelStep      (the same for x)
//
// x [N, H, W, C], weight [KH, KW, C, O], y [N, YH, YW, O], all channels-last. The forward convolution is one launch, the
// gradient with respect to x one launch per phase of the stride (see gradients.ts). A launch may be several products of equal
// shape beside each other (batches): each has its own pixels and, weightStride further, its own weights. The inner extent of the
// product, all input channels of all taps, may be cut into splits of so many turns.

struct Params {
  epilogue: u32, scaled: u32, pixels: u32, batches: u32, weightStride: u32, splits: u32, turnsPerSplit: u32,
  H: u32, W: u32, C: u32,
  GH: u32, GW: u32, O: u32,
  YH: u32, YW: u32, outStride: u32, phaseY: u32, phaseX: u32,
  inStride: u32, originY: i32, originX: i32, tapStep: i32,
  tapsY: u32, tapsX: u32, KW: u32, firstKy: u32, firstKx: u32, kernelStep: u32,
}
@group(0) @binding(4) var<uniform> p: Params;

/** The pixel of y that result q of the grid goes to. */
fn placeOf(q: u32) -> u32 {
  let gx = q % p.GW;
  let gy = (q / p.GW) % p.GH;
  let row = (q / (p.GH * p.GW)) * p.YH + gy * p.outStride + p.phaseY;
  return row * p.YW + gx * p.outStride + p.phaseX;
}
