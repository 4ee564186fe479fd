// Needs: pictures.wgsl
// Pixels of JPEG files from their samples, as jpeg_blocks makes them: samples [pixels, C] → y [pixels, C], whole levels that may lie beyond
// 0–255. Colours of fewer columns or rows are interpolated (libjpeg's "fancy" upsampling, jdsample.c), then RGB (jdcolor.c). Pixels of no
// JPEG are those of x. One invocation a pixel, in stored order.

struct Params { N: u32, C: u32, pixels: u32 }
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> samples: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<uniform> p: Params;

// A difference of colour at a pixel, from 128; the second number is not 0 where a NaN has a part in it.
fn differenceAt(picture: Picture, component: u32, stored: vec2i) -> vec2i {
  let sampling = picture.sampling;
  let last = samplesOf(picture, component) - vec2i(1);
  let nearest = stored / sampling;
  let odd = stored - nearest * sampling;
  // Pictures of up to four columns are not interpolated where columns are fewer.
  let plain = sampling.x == 2 && last.x < 2;
  let other = clamp(nearest + select(vec2i(-1), vec2i(1), odd == vec2i(1)), vec2i(0), last);
  let across = select(vec2i(3, 1), vec2i(4, 0), plain || sampling.x == 1);
  let down = select(vec2i(3, 1), vec2i(4, 0), plain || sampling.y == 1);
  var sum = 0;
  var broken = 0;
  for (var v = 0; v < 2; v++) {
    for (var h = 0; h < 2; h++) {
      let weight = across[h] * down[v];
      if (weight == 0) { continue; }
      let at = vec2i(select(other.x, nearest.x, h == 0), select(other.y, nearest.y, v == 0));
      let sample = samples[pixelAt(picture, at * sampling) * p.C + component];
      broken += i32(isNan(sample));
      sum += weight * i32(sample);
    }
  }
  // Sixteenths; half of them are rounded up and down by turns.
  var bias = 8;
  if (sampling.x == 2 && sampling.y == 2) { bias = select(8, 7, odd.x == 1); }
  else if (sampling.x == 2) { bias = select(4, 8, odd.x == 1); }
  else if (sampling.y == 2) { bias = select(4, 8, odd.y == 1); }
  return vec2i(((sum + bias) >> 4u) - 128, broken);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let number = (wg.y * num.x + wg.x) * 64u + local;
  if (number >= p.pixels) { return; }
  let picture = pictureAt(pictureOf(number, 0u, p.N));
  if (number >= pictures[p.N * 8u] || picture.sampling.x == 0) {
    for (var c = 0u; c < p.C; c++) { y[number * p.C + c] = x[number * p.C + c]; }
    return;
  }
  let stored = storedAt(picture, number);
  let at = pixelAt(picture, stored) * p.C;
  let sample = samples[at];
  if (p.C == 1u) {
    y[at] = sample;
    return;
  }
  let blue = differenceAt(picture, 1u, stored);
  let red = differenceAt(picture, 2u, stored);
  let difference = vec3i(
    (91881 * red.x + 32768) >> 16u,
    (-22554 * blue.x - 46802 * red.x + 32768) >> 16u,
    (116130 * blue.x + 32768) >> 16u,
  );
  let rgb = vec3f(sample) + vec3f(difference);
  let broken = blue.y + red.y > 0;
  for (var c = 0u; c < 3u; c++) { y[at + c] = bitcast<f32>(select(bitcast<u32>(rgb[c]), 0x7fc00000u, broken)); }
}
