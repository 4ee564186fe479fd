// dx = gamma·inverse·(dy − dbeta/R − x̂·dgamma/R) where the statistics came from the batch, gamma·inverse·dy where they were
// frozen. x, dy, dx [R, C], saved [2, C] = (mean, inverse). Sixteen elements an invocation.

struct Params { quads: u32, C: u32, rows: u32 }
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> dy: array<vec4f>;
@group(0) @binding(2) var<storage, read> saved: array<f32>;
@group(0) @binding(3) var<storage, read> gamma: array<f32>;
@group(0) @binding(4) var<storage, read> dgamma: array<f32>;
@group(0) @binding(5) var<storage, read> dbeta: array<f32>;
@group(0) @binding(6) var<storage, read_write> dx: array<vec4f>;
@group(0) @binding(7) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  // Four quads an invocation, a workgroup's width apart.
  let first = (wg.y * num.x + wg.x) * 256u + local;
  for (var index = first; index < min(first + 256u, p.quads); index += 64u) {
    var c = (index * 4u) % p.C + vec4u(0u, 1u, 2u, 3u);
    // Divisions are slow: with four channels or more one subtraction does.
    if (p.C >= 4u) { c = select(c, c - p.C, c >= vec4u(p.C)); } else { c = c % p.C; }
    let inverse = vec4f(saved[p.C + c.x], saved[p.C + c.y], saved[p.C + c.z], saved[p.C + c.w]);
    var d = dy[index];
    if (TRAINING) {
      let mean = vec4f(saved[c.x], saved[c.y], saved[c.z], saved[c.w]);
      let xhat = (x[index] - mean) * inverse;
      let rows = f32(p.rows);
      d -= vec4f(dbeta[c.x], dbeta[c.y], dbeta[c.z], dbeta[c.w]) / rows;
      d -= xhat * vec4f(dgamma[c.x], dgamma[c.y], dgamma[c.z], dgamma[c.w]) / rows;
    }
    dx[index] = d * inverse * vec4f(gamma[c.x], gamma[c.y], gamma[c.z], gamma[c.w]);
  }
}
