// Needs: pictures.wgsl
// The gradient of jpeg_pixels as if nothing were rounded: dy [pixels, C] → dsamples [pixels, C], anything where no sample lies; of pixels of
// no JPEG it is dy. Each sample sums over the pixels it has a share in. One invocation a pixel, in stored order, for brightness, then one a sample
// of colour, of as many as a picture can have, pixels: together 2·pixels.

struct Params { N: u32, C: u32, pixels: u32 }
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dsamples: array<f32>;
@group(0) @binding(3) var<uniform> p: Params;

// The share of a sample in a pixel, along one axis: three quarters of the nearest, one of the next on the pixel's side.
fn shareOf(sample: i32, pixel: i32, sampling: i32, last: i32, plain: bool) -> f32 {
  let nearest = pixel / sampling;
  if (sampling == 1 || plain) { return f32(nearest == sample); }
  let other = clamp(nearest + select(-1, 1, pixel % 2 == 1), 0, last);
  return 0.75 * f32(nearest == sample) + 0.25 * f32(other == sample);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let index = (wg.y * num.x + wg.x) * 64u + local;
  if (index >= 2u * p.pixels) { return; }
  let coloured = index >= p.pixels;
  let number = select(index, index - p.pixels, coloured);
  let picture = pictureAt(pictureOf(number, 0u, p.N));
  if (number >= pictures[p.N * 8u] || picture.sampling.x == 0) {
    if (coloured) { return; }
    for (var c = 0u; c < p.C; c++) { dsamples[number * p.C + c] = dy[number * p.C + c]; }
    return;
  }
  if (!coloured) {
    let at = pixelAt(picture, storedAt(picture, number)) * p.C;
    if (p.C == 1u) { dsamples[at] = dy[at]; } else { dsamples[at] = dy[at] + dy[at + 1u] + dy[at + 2u]; }
    return;
  }
  let extent = samplesOf(picture, 1u);
  let i = i32(number - picture.first);
  if (p.C == 1u || i >= extent.x * extent.y) { return; }
  let sample = vec2i(i % extent.x, i / extent.x);
  let sampling = picture.sampling;
  let last = extent - vec2i(1);
  let plain = sampling.x == 2 && last.x < 2;
  let stored = sample * sampling;
  let low = max(stored - (sampling - vec2i(1)), vec2i(0));
  let high = min(stored + 2 * (sampling - vec2i(1)), picture.size - vec2i(1));
  var difference = vec2f(0.0);
  for (var row = low.y; row <= high.y; row++) {
    let down = shareOf(sample.y, row, sampling.y, last.y, plain);
    for (var column = low.x; column <= high.x; column++) {
      let share = down * shareOf(sample.x, column, sampling.x, last.x, plain);
      let pixel = pixelAt(picture, vec2i(column, row)) * 3u;
      difference += share * vec2f(
        fma(1.772, dy[pixel + 2u], -0.344136286 * dy[pixel + 1u]),
        fma(1.402, dy[pixel], -0.714136286 * dy[pixel + 1u]),
      );
    }
  }
  let at = pixelAt(picture, stored) * 3u;
  dsamples[at + 1u] = difference.x;
  dsamples[at + 2u] = difference.y;
}
