// dx = the sum of dy over the windows whose maximum this element was. dx [N, H, W, C]; dy, argmax [N, OH, OW, C].
// A gather, so that sums have one order: one invocation one `Channels` of dx.

alias Channels = vec4f;

struct Params { size: u32, H: u32, W: u32, C: u32, OH: u32, OW: u32, kernel: u32, stride: u32, padding: u32 }  // size and C in `Channels`
@group(0) @binding(0) var<storage, read> dy: array<Channels>;
@group(0) @binding(1) var<storage, read> argmax: array<Channels>;
@group(0) @binding(2) var<storage, read_write> dx: array<Channels>;
@group(0) @binding(3) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let index = (wg.y * num.x + wg.x) * 64u + local;
  if (index >= p.size) { return; }
  let c = index % p.C;
  let pixel = index / p.C;
  let row = pixel / p.W;
  let image = row / p.H;
  // In padded coordinates, and the windows that cover it: [first, end).
  let position = vec2u(row % p.H, pixel % p.W) + p.padding;
  let first = (max(position + p.stride, vec2u(p.kernel)) - p.kernel) / p.stride;
  let end = min(position / p.stride + 1u, vec2u(p.OH, p.OW));

  var sum: Channels;
  for (var oy = first.x; oy < end.x; oy++) {
    for (var ox = first.y; ox < end.y; ox++) {
      let tap = position - vec2u(oy, ox) * p.stride;
      let at = ((image * p.OH + oy) * p.OW + ox) * p.C + c;
      sum += select(Channels(), dy[at], argmax[at] == Channels(f32(tap.x * p.kernel + tap.y)));
    }
  }
  dx[index] = sum;
}
