// y = x · factor where a random number is kept, else 0. The numbers are a function of the seed, the stream and the element's
// index: PCG4D (Jarzynski and Olano, "Hash Functions for GPU Rendering", 2020), four an evaluation. Dropped are those below
// `threshold`. seed [2]. Sixteen elements an invocation.

struct Params { quads: u32, stream: u32, threshold: u32, factor: f32 }
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> seed: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(3) var<uniform> p: Params;

fn pcg4d(counter: vec4u) -> vec4u {
  var v = counter * 1664525u + 1013904223u;
  v.x += v.y * v.w; v.y += v.z * v.x; v.z += v.x * v.y; v.w += v.y * v.z;
  v ^= v >> vec4u(16u);
  v.x += v.y * v.w; v.y += v.z * v.x; v.z += v.x * v.y; v.w += v.y * v.z;
  return v;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  // Four quads an invocation, a workgroup's width apart.
  let first = (wg.y * num.x + wg.x) * 256u + local;
  for (var index = first; index < min(first + 256u, p.quads); index += 64u) {
    let random = pcg4d(vec4u(index, p.stream, seed[0], seed[1]));
    y[index] = select(x[index] * p.factor, vec4f(), random < vec4u(p.threshold));
  }
}
