// The gradient of crop_resize with respect to x, as a gather: each pixel of x sums over the results it had a share in.
// dy [N, OH, OW, C], crops [N, 5], their first pixels ascending → dx [pixels, C], 0 outside the crops. One invocation an element
// of dx.

struct Params { size: u32, N: u32, C: u32, OH: u32, OW: u32 }
@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read> crops: array<u32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;
@group(0) @binding(3) var<uniform> p: Params;

// The results that lie between pixels i − 1 and i + 1: the first, and the one after the last. Results before the first pixel's centre
// and beyond the last one's belong to those.
fn firstOf(i: u32, extent: u32, out: u32) -> u32 {
  return select((max(2u * i, 1u) - 1u) * out + extent, 0u, i == 0u) / (2u * extent);
}
fn endOf(i: u32, extent: u32, out: u32) -> u32 {
  return select(min(((2u * i + 3u) * out + extent - 1u) / (2u * extent), out), out, i + 1u == extent);
}

// Pixel i's share in result d: 1 − the distance of d's position, moved inside the crop, from i, if that is positive.
fn shareOf(i: u32, d: u32, extent: u32, out: u32) -> f32 {
  let pixel = 2u * out;
  let position = min(max((2u * d + 1u) * extent, out) - out, (extent - 1u) * pixel);
  let distance = max(position, i * pixel) - min(position, i * pixel);
  return f32(pixel - min(distance, pixel)) / f32(pixel);
}

// The last crop that begins at or before a pixel; the first where none does. If the pixel lies in any crop, then in this one:
// images are disjoint, and each holds the pixels of its crop.
fn cropOf(pixel: u32) -> u32 {
  var low = 0u;
  var high = p.N;
  while (high - low > 1u) {
    let middle = (low + high) / 2u;
    if (crops[middle * 5u] <= pixel) { low = middle; } else { high = middle; }
  }
  return low;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let index = (wg.y * num.x + wg.x) * 64u + local;
  if (index >= p.size) { return; }
  let c = index % p.C;
  let pixel = index / p.C;
  let n = cropOf(pixel);
  let height = crops[n * 5u + 2u];
  let width = crops[n * 5u + 3u];
  let flip = crops[n * 5u + 4u] != 0u;
  let first = crops[n * 5u];
  let stride = crops[n * 5u + 1u];
  // Before the first crop this wraps round to a large number.
  let i = (pixel - first) / stride;
  let j = (pixel - first) % stride;
  var sum = 0.0;
  if (pixel >= first && i < height && j < width) {
    let endRow = endOf(i, height, p.OH);
    let endColumn = endOf(j, width, p.OW);
    for (var d = firstOf(i, height, p.OH); d < endRow; d++) {
      var rowSum = 0.0;
      for (var e = firstOf(j, width, p.OW); e < endColumn; e++) {
        let at = ((n * p.OH + d) * p.OW + select(e, p.OW - 1u - e, flip)) * p.C + c;
        rowSum = fma(shareOf(j, e, width, p.OW), dy[at], rowSum);
      }
      sum = fma(shareOf(i, d, height, p.OH), rowSum, sum);
    }
  }
  dx[index] = sum;
}
