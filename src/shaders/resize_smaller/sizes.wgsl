// Images that lie one after another, before and after they are resized: sizes [N + 1, 6], each with its first pixel, width and height before,
// and the same after. The last row has the ends. Weights are those of a triangle as wide as two pixels of the smaller image, of what lies
// inside the image, together 1.

@group(0) @binding(0) var<storage, read> sizes: array<u32>;

struct Resized { first: u32, size: vec2u, firstAfter: u32, sizeAfter: vec2u }

fn resizedAt(n: u32) -> Resized {
  let at = n * 6u;
  return Resized(
    sizes[at],
    vec2u(sizes[at + 1u], sizes[at + 2u]),
    sizes[at + 3u],
    vec2u(sizes[at + 4u], sizes[at + 5u]),
  );
}

// The last of `count` images whose field begins at or before a pixel.
fn imageOf(pixel: u32, field: u32, count: u32) -> u32 {
  var low = 0u;
  var high = count;
  while (high - low > 1u) {
    let middle = (low + high) / 2u;
    if (sizes[middle * 6u + field] <= pixel) { low = middle; } else { high = middle; }
  }
  return low;
}

// The triangle's height at pixel i for result d.
fn heightAt(i: u32, d: u32, scale: f32) -> f32 {
  return max(0.0, 1.0 - abs((f32(i) + 0.5 - (f32(d) + 0.5) * scale) / scale));
}

// The pixels that result d sees: the first, and the one after the last.
fn windowOf(d: u32, scale: f32, extent: u32) -> vec2u {
  let centre = (f32(d) + 0.5) * scale;
  return vec2u(u32(max(0.0, floor(centre - scale))), min(extent, u32(ceil(centre + scale))));
}

// The sum of the triangle's heights for result d.
fn totalAt(d: u32, scale: f32, extent: u32) -> f32 {
  let window = windowOf(d, scale, extent);
  var total = 0.0;
  for (var i = window.x; i < window.y; i++) { total += heightAt(i, d, scale); }
  return total;
}
