// y = x·scale[c] + shift[c], plus residual, through a ReLU where asked for. x, residual, y [R, C]. One invocation four rows of
// one `Channels`, whose scale and shift it loads once.

alias Channels = vec4f;
const HAS_RESIDUAL = false;
const RELU = false;

struct Params { rows: u32, C: u32 }  // C in `Channels`
@group(0) @binding(0) var<storage, read> x: array<Channels>;
@group(0) @binding(1) var<storage, read> scale: array<Channels>;
@group(0) @binding(2) var<storage, read> shift: array<Channels>;
@group(0) @binding(3) var<storage, read> residual: array<Channels>;
@group(0) @binding(4) var<storage, read_write> y: array<Channels>;
@group(0) @binding(5) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let index = (wg.y * num.x + wg.x) * 64u + local;
  let c = index % p.C;
  let first = (index / p.C) * 4u;
  let factor = scale[c];
  let offset = shift[c];
  for (var row = first; row < min(first + 4u, p.rows); row++) {
    let at = row * p.C + c;
    var value = fma(x[at], factor, offset);
    if (HAS_RESIDUAL) { value += residual[at]; }
    if (RELU) { value = select(value, Channels(), value <= Channels()); }
    y[at] = value;
  }
}
