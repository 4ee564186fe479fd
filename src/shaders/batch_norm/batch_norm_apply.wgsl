// y = x·scale[c] + shift[c], plus residual, through a ReLU where asked for. x, residual, y [R, C]. Sixteen elements an invocation.

struct Params { quads: u32, C: u32 }
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> scale: array<f32>;
@group(0) @binding(2) var<storage, read> shift: array<f32>;
@group(0) @binding(3) var<storage, read> residual: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(5) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  // Four quads an invocation, a workgroup's width apart.
  let first = (wg.y * num.x + wg.x) * 256u + local;
  for (var index = first; index < min(first + 256u, p.quads); index += 64u) {
    var c = (index * 4u) % p.C + vec4u(0u, 1u, 2u, 3u);
    // Divisions are slow: with four channels or more one subtraction does.
    if (p.C >= 4u) { c = select(c, c - p.C, c >= vec4u(p.C)); } else { c = c % p.C; }
    var value = fma(x[index], vec4f(scale[c.x], scale[c.y], scale[c.z], scale[c.w]), vec4f(shift[c.x], shift[c.y], shift[c.z], shift[c.w]));
    if (HAS_RESIDUAL) { value += residual[index]; }
    if (RELU) { value = select(value, vec4f(), value <= vec4f()); }
    y[index] = value;
  }
}
