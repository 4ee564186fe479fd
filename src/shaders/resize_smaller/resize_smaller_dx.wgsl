// Needs: sizes.wgsl
// The gradient of resize_smaller, as a gather: dy [pixels, C] → dx [pixels, C]. Each pixel sums over the results that see it. One
// invocation a pixel.

struct Params { N: u32, C: u32, pixels: u32 }
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;
@group(0) @binding(3) var<uniform> p: Params;

// The results that may see pixel i: the first, and the one after the last.
fn seenBy(i: u32, scale: f32, extent: u32) -> vec2u {
  let position = (f32(i) + 0.5) / scale - 0.5;
  return vec2u(u32(max(0.0, floor(position - 1.0))), min(extent, u32(max(0.0, ceil(position + 1.0))) + 1u));
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let pixel = (wg.y * num.x + wg.x) * 64u + local;
  if (pixel >= p.pixels) { return; }
  if (pixel >= sizes[p.N * 6u]) {
    for (var c = 0u; c < p.C; c++) { dx[pixel * p.C + c] = 0.0; }
    return;
  }
  let image = resizedAt(imageOf(pixel, 0u, p.N));
  let i = vec2u((pixel - image.first) % image.size.x, (pixel - image.first) / image.size.x);
  let scale = vec2f(image.size) / vec2f(image.sizeAfter);
  let columns = seenBy(i.x, scale.x, image.sizeAfter.x);
  let rows = seenBy(i.y, scale.y, image.sizeAfter.y);
  for (var c = 0u; c < p.C; c++) { dx[pixel * p.C + c] = 0.0; }
  for (var e = rows.x; e < rows.y; e++) {
    let down = heightAt(i.y, e, scale.y);
    if (down == 0.0) { continue; }
    let downShare = down / totalAt(e, scale.y, image.size.y);
    for (var d = columns.x; d < columns.y; d++) {
      let across = heightAt(i.x, d, scale.x);
      if (across == 0.0) { continue; }
      let share = downShare * across / totalAt(d, scale.x, image.size.x);
      let at = (image.firstAfter + e * image.sizeAfter.x + d) * p.C;
      for (var c = 0u; c < p.C; c++) { dx[pixel * p.C + c] = fma(share, dy[at + c], dx[pixel * p.C + c]); }
    }
  }
}
