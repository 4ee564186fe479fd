// The gradient with respect to the weights from that with respect to Winograd's: dweight = Gᵀ·du·G; cf. winograd_weight.wgsl.
//
// du [36, C, O], dweight [3, 3, C, O]. One invocation one input and four output channels.
// Needs: winograd.wgsl

struct Params { quads: u32 }  // C·O / 4
@group(0) @binding(0) var<storage, read> du: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> dweight: array<vec4f>;
@group(0) @binding(2) var<uniform> p: Params;

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

/** What column j of Gᵀ·du counts in each column of dweight: column j of Gᵀ. */
fn factorsOf(j: u32) -> vec3f {
  if (j == 0u) { return vec3f(1.0 / (A * A * B * B), 0.0, 0.0); }
  if (j == 5u) { return vec3f(0.0, 0.0, 1.0); }
  let size = select(A, B, j > 2u);
  let other = select(B, A, j > 2u);
  let point = select(size, -size, j % 2u == 0u);
  return vec3f(1.0, point, point * point) / (2.0 * size * size * (size * size - other * other));
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let index = (wg.y * num.x + wg.x) * 64u + local;
  if (index >= p.quads) { return; }
  // One column after the other, each added to all results that it counts in; cf. winograd_output.wgsl.
  var sums: array<vec4f, 9>;
  let step = p.quads;
  let row = 6u * step;
  var j = 0u;
  for (var at = index; at < row; at += step) {
    let t = transform(array<vec4f, 6>(du[at], du[at + row], du[at + 2u * row], du[at + 3u * row], du[at + 4u * row], du[at + 5u * row]));
    let factors = factorsOf(j);
    for (var i = 0u; i < 3u; i++) {
      for (var k = 0u; k < 3u; k++) { sums[i * 3u + k] += factors[k] * t[i]; }
    }
    j++;
  }
  var results = sums;
  var i = 0u;
  for (var at = index; at < 9u * step; at += step) {
    dweight[at] = results[i];
    i++;
  }
}
