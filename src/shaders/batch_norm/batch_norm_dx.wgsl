// dx = gamma·inverse·(dy − dbeta/R − x̂·dgamma/R) where the statistics came from the batch, gamma·inverse·dy where they were
// frozen. x, dy, dx [R, C], saved [2, C] = (mean, inverse). One invocation four rows of one `Channels`.

alias Channels = vec4f;
const TRAINING = true;  // the statistics are the batch's

struct Params { rows: u32, C: u32 }  // C in `Channels`
@group(0) @binding(0) var<storage, read> x: array<Channels>;
@group(0) @binding(1) var<storage, read> dy: array<Channels>;
@group(0) @binding(2) var<storage, read> saved: array<Channels>;
@group(0) @binding(3) var<storage, read> gamma: array<Channels>;
@group(0) @binding(4) var<storage, read> dgamma: array<Channels>;
@group(0) @binding(5) var<storage, read> dbeta: array<Channels>;
@group(0) @binding(6) var<storage, read_write> dx: array<Channels>;
@group(0) @binding(7) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let index = (wg.y * num.x + wg.x) * 64u + local;
  let c = index % p.C;
  let first = (index / p.C) * 4u;
  let inverse = saved[p.C + c];
  let factor = inverse * gamma[c];
  var mean: Channels;
  var slope: Channels;
  var offset: Channels;
  if (TRAINING) {
    mean = saved[c];
    slope = inverse * dgamma[c] / f32(p.rows);
    offset = dbeta[c] / f32(p.rows);
  }
  for (var row = first; row < min(first + 4u, p.rows); row++) {
    let at = row * p.C + c;
    var d = dy[at];
    if (TRAINING) { d -= offset + (x[at] - mean) * slope; }
    dx[at] = d * factor;
  }
}
