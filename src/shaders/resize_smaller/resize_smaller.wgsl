// Needs: sizes.wgsl
// Images made smaller, with antialias: x [pixels, C] → y [pixels, C], the images one after another, the rest 0. One invocation a pixel.

struct Params { N: u32, C: u32, pixels: u32 }
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let pixel = (wg.y * num.x + wg.x) * 64u + local;
  if (pixel >= p.pixels) { return; }
  if (pixel >= sizes[p.N * 6u + 3u]) {
    for (var c = 0u; c < p.C; c++) { y[pixel * p.C + c] = 0.0; }
    return;
  }
  let image = resizedAt(imageOf(pixel, 3u, p.N));
  let d = vec2u((pixel - image.firstAfter) % image.sizeAfter.x, (pixel - image.firstAfter) / image.sizeAfter.x);
  let scale = vec2f(image.size) / vec2f(image.sizeAfter);
  let columns = windowOf(d.x, scale.x, image.size.x);
  let rows = windowOf(d.y, scale.y, image.size.y);
  let total = totalAt(d.x, scale.x, image.size.x) * totalAt(d.y, scale.y, image.size.y);
  for (var c = 0u; c < p.C; c++) {
    var sum = 0.0;
    for (var j = rows.x; j < rows.y; j++) {
      var line = 0.0;
      for (var i = columns.x; i < columns.y; i++) {
        line = fma(heightAt(i, d.x, scale.x), x[(image.first + j * image.size.x + i) * p.C + c], line);
      }
      sum = fma(heightAt(j, d.y, scale.y), line, sum);
    }
    y[pixel * p.C + c] = sum / total;
  }
}
