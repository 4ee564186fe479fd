// dx = the sum of what every result sends back to a pixel (torch.nn.Fold, "col2im"): columns [N, GH, GW, J] hold, for each result,
// C values for each of the KH·KW taps (and fill up to J); dx [N, H, W, C].
// A gather, so that sums have one order: one invocation an element of dx.

struct Params { size: u32, H: u32, W: u32, C: u32, GH: u32, GW: u32, J: u32, KH: u32, KW: u32, stride: u32, pad: u32 }
@group(0) @binding(0) var<storage, read> columns: array<f32>;
@group(0) @binding(1) var<storage, read_write> dx: array<f32>;
@group(0) @binding(2) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let index = (wg.y * num.x + wg.x) * 64u + local;
  if (index >= p.size) { return; }
  let c = index % p.C;
  let pixel = index / p.C;
  let n = pixel / (p.W * p.H);
  // In padded coordinates, and the results whose taps cover it: [first, end).
  let position = vec2u((pixel / p.W) % p.H, pixel % p.W) + p.pad;
  let kernel = vec2u(p.KH, p.KW);
  let first = (max(position + p.stride, kernel) - kernel) / p.stride;
  let end = min(position / p.stride + 1u, vec2u(p.GH, p.GW));
  var sum = 0.0;
  for (var gy = first.x; gy < end.x; gy++) {
    for (var gx = first.y; gx < end.y; gx++) {
      let tap = position - vec2u(gy, gx) * p.stride;
      sum += columns[((n * p.GH + gy) * p.GW + gx) * p.J + (tap.x * p.KW + tap.y) * p.C + c];
    }
  }
  dx[index] = sum;
}
