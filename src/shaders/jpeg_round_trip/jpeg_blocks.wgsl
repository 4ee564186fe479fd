// Needs: pictures.wgsl
// What is left of each sample of a JPEG file: x [pixels, C] in levels 0–255 → samples [pixels, C], where that of a component lies at the
// first pixel it covers. Whole levels, YCbCr, means over the pixels of a sample, DCT, quantisation by tables [N, 128] (brightness,
// colour; row by row), and back, in libjpeg's integers (its accurate DCT, jfdctint.c and jidctint.c). A workgroup takes eight blocks at a
// time, an invocation a row or column of one of them. A block with a NaN is NaN.

struct Params { N: u32, C: u32 }
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> tables: array<u32>;
@group(0) @binding(3) var<storage, read_write> samples: array<f32>;
@group(0) @binding(4) var<uniform> p: Params;

var<workgroup> blocks: array<i32, 512>;
// In how many of a row's parts a NaN is.
var<workgroup> broken: array<i32, 64>;

fn descale(v: i32, bits: u32) -> i32 {
  return (v + (1i << (bits - 1u))) >> bits;
}

// One pass of the DCT, in units of 2⁻¹³, rounded by `bits`.
fn forward(v: array<i32, 8>, bits: u32) -> array<i32, 8> {
  let a = vec4i(v[0] + v[7], v[1] + v[6], v[2] + v[5], v[3] + v[4]);
  let d = vec4i(v[0] - v[7], v[1] - v[6], v[2] - v[5], v[3] - v[4]);
  let even = (a.x - a.w + a.y - a.z) * 4433;
  let all = (d.x + d.y + d.z + d.w) * 9633;
  let z1 = (d.w + d.x) * -7373;
  let z2 = (d.z + d.y) * -20995;
  let z3 = (d.w + d.y) * -16069 + all;
  let z4 = (d.z + d.x) * -3196 + all;
  return array<i32, 8>(
    descale((a.x + a.y + a.z + a.w) * 8192, bits),
    descale(d.x * 12299 + z1 + z4, bits),
    descale(even + (a.x - a.w) * 6270, bits),
    descale(d.y * 25172 + z2 + z3, bits),
    descale((a.x + a.w - a.y - a.z) * 8192, bits),
    descale(d.z * 16819 + z2 + z4, bits),
    descale(even - (a.y - a.z) * 15137, bits),
    descale(d.w * 2446 + z1 + z3, bits),
  );
}

// One pass of its inverse.
fn inverse(v: array<i32, 8>, bits: u32) -> array<i32, 8> {
  let z = (v[2] + v[6]) * 4433;
  let low = vec2i(v[0] + v[4], v[0] - v[4]) * 8192;
  let high = vec2i(z + v[2] * 6270, z - v[6] * 15137);
  let even = vec4i(low.x + high.x, low.y + high.y, low.y - high.y, low.x - high.x);
  let all = (v[1] + v[3] + v[5] + v[7]) * 9633;
  let z1 = (v[7] + v[1]) * -7373;
  let z2 = (v[5] + v[3]) * -20995;
  let z3 = (v[7] + v[3]) * -16069 + all;
  let z4 = (v[5] + v[1]) * -3196 + all;
  let odd = vec4i(v[1] * 12299 + z1 + z4, v[3] * 25172 + z2 + z3, v[5] * 16819 + z2 + z4, v[7] * 2446 + z1 + z3);
  return array<i32, 8>(
    descale(even.x + odd.x, bits),
    descale(even.y + odd.y, bits),
    descale(even.z + odd.z, bits),
    descale(even.w + odd.w, bits),
    descale(even.w - odd.w, bits),
    descale(even.z - odd.z, bits),
    descale(even.y - odd.y, bits),
    descale(even.x - odd.x, bits),
  );
}

// Brightness, blue or red difference of a pixel (jccolor.c).
fn componentOf(pixel: u32, component: u32) -> vec2i {
  if (p.C == 1u) {
    let level = x[pixel];
    return vec2i(i32(round(level)), i32(isNan(level)));
  }
  let levels = vec3f(x[pixel * 3u], x[pixel * 3u + 1u], x[pixel * 3u + 2u]);
  let broken = i32(isNan(levels.x)) + i32(isNan(levels.y)) + i32(isNan(levels.z));
  let rgb = vec3i(round(levels));
  var weights = vec3i(19595, 38470, 7471);
  var offset = 32768;
  if (component == 1u) { weights = vec3i(-11059, -21709, 32768); }
  if (component == 2u) { weights = vec3i(32768, -27439, -5329); }
  if (component > 0u) { offset = (128 << 16u) + 32767; }
  return vec2i((weights.x * rgb.x + weights.y * rgb.y + weights.z * rgb.z + offset) >> 16u, broken);
}

// A sample, also beyond the picture: the last column of pixels again, the last row of samples again (jcsample.c, jcprepct.c).
fn sampleAt(picture: Picture, component: u32, position: vec2i) -> vec2i {
  let sampling = samplingOf(picture, component);
  let row = min(position.y, samplesOf(picture, component).y - 1);
  var sum = vec2i(0);
  for (var v = 0; v < sampling.y; v++) {
    for (var h = 0; h < sampling.x; h++) {
      let stored = min(vec2i(position.x * sampling.x + h, row * sampling.y + v), picture.size - vec2i(1));
      sum += componentOf(pixelAt(picture, stored), component);
    }
  }
  if (sampling.x == 2 && sampling.y == 2) { return vec2i((sum.x + 1 + (position.x & 1)) >> 2u, sum.y); }
  if (sampling.x == 2) { return vec2i((sum.x + (position.x & 1)) >> 1u, sum.y); }
  if (sampling.y == 2) { return vec2i((sum.x + 1) >> 1u, sum.y); }
  return sum;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let own = local / 8u * 64u;
  let line = local % 8u;
  let end = pictures[p.N * 8u + 7u];
  for (var group = wg.y * num.x + wg.x; group * 8u < end; group += num.x * num.y) {
    // The last group may have fewer than eight.
    let block = min(group * 8u + local / 8u, end - 1u);
    let n = pictureOf(block, 7u, p.N);
    let picture = pictureAt(n);
    // Brightness first, then the two of colour.
    var index = i32(block - picture.firstBlock);
    var component = 0u;
    var across = (samplesOf(picture, component).x + 7) / 8;
    for (; component + 1u < p.C; component++) {
      let count = (samplesOf(picture, component) + vec2i(7)) / 8;
      if (index < count.x * count.y) { break; }
      index -= count.x * count.y;
      across = (samplesOf(picture, component + 1u).x + 7) / 8;
    }
    let corner = vec2i(index % across, index / across) * 8;
    let row = corner.y + i32(line);

    var v: array<i32, 8>;
    var count = 0;
    for (var i = 0; i < 8; i++) {
      let sample = sampleAt(picture, component, vec2i(corner.x + i, row));
      v[i] = sample.x - 128;
      count += sample.y;
    }
    v = forward(v, 11u);
    for (var i = 0u; i < 8u; i++) { blocks[own + line * 8u + i] = v[i]; }
    broken[local] = count;
    workgroupBarrier();

    for (var i = 0u; i < 8u; i++) { v[i] = blocks[own + i * 8u + line]; }
    v = forward(v, 15u);
    for (var i = 0u; i < 8u; i++) {
      // Eight times the coefficient; half a step is rounded away from 0.
      let step = i32(tables[n * 128u + select(0u, 64u, component > 0u) + i * 8u + line]);
      v[i] = sign(v[i]) * ((abs(v[i]) + 4 * step) / (8 * step)) * step;
    }
    v = inverse(v, 11u);
    for (var i = 0u; i < 8u; i++) { blocks[own + i * 8u + line] = v[i]; }
    count = 0;
    for (var i = 0u; i < 8u; i++) { count += broken[local / 8u * 8u + i]; }
    workgroupBarrier();

    for (var i = 0u; i < 8u; i++) { v[i] = blocks[own + line * 8u + i]; }
    v = inverse(v, 18u);
    let extent = samplesOf(picture, component);
    let sampling = samplingOf(picture, component);
    for (var i = 0; i < 8; i++) {
      let position = vec2i(corner.x + i, row);
      if (group * 8u + local / 8u < end && all(position < extent)) {
        let sample = f32(clamp(v[i] + 128, 0, 255));
        let at = pixelAt(picture, position * sampling) * p.C + component;
        samples[at] = bitcast<f32>(select(bitcast<u32>(sample), 0x7fc00000u, count > 0));
      }
    }
    workgroupBarrier();
  }
}
