// The gradient with respect to the weights from that with respect to Winograd's: dweight = Gᵀ·du·G; cf. winograd_weight.wgsl.
//
// du [36, C, O], dweight [3, 3, C, O]. One invocation one input and four output channels.

struct Params { quads: u32 }  // C·O / 4
@group(0) @binding(0) var<storage, read> du: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> dweight: array<vec4f>;
@group(0) @binding(2) var<uniform> p: Params;

const A = 0.625;
const B = 1.25;

/** Gᵀ·d of one column. */
fn transform(d: array<vec4f, 6>) -> array<vec4f, 3> {
  const atA = 1.0 / (2.0 * A * A * (A * A - B * B));
  const atB = 1.0 / (2.0 * B * B * (B * B - A * A));
  let evenA = atA * (d[1] + d[2]);
  let evenB = atB * (d[3] + d[4]);
  return array<vec4f, 3>(
    (1.0 / (A * A * B * B)) * d[0] + evenA + evenB,
    (atA * A) * (d[1] - d[2]) + (atB * B) * (d[3] - d[4]),
    (A * A) * evenA + (B * B) * evenB + d[5],
  );
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let index = (wg.y * num.x + wg.x) * 64u + local;
  if (index >= p.quads) { return; }
  var t: array<array<vec4f, 3>, 6>;
  for (var j = 0u; j < 6u; j++) {
    var d: array<vec4f, 6>;
    for (var i = 0u; i < 6u; i++) { d[i] = du[(i * 6u + j) * p.quads + index]; }
    t[j] = transform(d);
  }
  for (var i = 0u; i < 3u; i++) {
    let r = transform(array<vec4f, 6>(t[0][i], t[1][i], t[2][i], t[3][i], t[4][i], t[5][i]));
    for (var j = 0u; j < 3u; j++) { dweight[(i * 3u + j) * p.quads + index] = r[j]; }
  }
}
