// Needs: pictures.wgsl
// The gradient of jpeg_blocks as if nothing were rounded, so that DCT and its inverse cancel: dsamples [pixels, C], as jpeg_samples_dx makes
// them, → dx [pixels, C]. Each pixel has a share in one sample of each component. One invocation a pixel, in stored order.

struct Params { N: u32, C: u32, pixels: u32 }
@group(0) @binding(1) var<storage, read> dsamples: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;
@group(0) @binding(3) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let number = (wg.y * num.x + wg.x) * 64u + local;
  if (number >= p.pixels) { return; }
  let picture = pictureAt(pictureOf(number, 0u, p.N));
  if (number >= pictures[p.N * 8u] || picture.sampling.x == 0) {
    for (var c = 0u; c < p.C; c++) { dx[number * p.C + c] = dsamples[number * p.C + c]; }
    return;
  }
  let stored = storedAt(picture, number);
  let at = pixelAt(picture, stored) * p.C;
  let brightness = dsamples[at];
  if (p.C == 1u) {
    dx[at] = brightness;
    return;
  }
  let sampling = picture.sampling;
  // A last pixel without a partner is counted twice.
  let alone = (stored % sampling == vec2i(0)) & (stored == picture.size - vec2i(1));
  let shares = select(vec2f(1.0) / vec2f(sampling), vec2f(1.0), alone);
  let sample = pixelAt(picture, stored / sampling * sampling) * 3u;
  let blue = shares.x * shares.y * dsamples[sample + 1u];
  let red = shares.x * shares.y * dsamples[sample + 2u];
  dx[at] = fma(0.299, brightness, fma(-0.168735892, blue, 0.5 * red));
  dx[at + 1u] = fma(0.587, brightness, fma(-0.331264108, blue, -0.418687589 * red));
  dx[at + 2u] = fma(0.114, brightness, fma(0.5, blue, -0.081312411 * red));
}
