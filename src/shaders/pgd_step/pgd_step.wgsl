// One step of projected gradient descent, in place: image, original, gradient [R, C] in 8-bit levels; step, shrink [C].
// image ← project(image − step[c]·gradient − shrink[c]·(image − original)) onto original ± radius; where rounding[0] is 1, onto
// the integers that lie in that interval and in 0–255. Sixteen elements an invocation.

struct Params { quads: u32, C: u32, radius: f32 }
@group(0) @binding(0) var<storage, read_write> image: array<vec4f>;
@group(0) @binding(1) var<storage, read> original: array<vec4f>;
@group(0) @binding(2) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(3) var<storage, read> step: array<f32>;
@group(0) @binding(4) var<storage, read> shrink: array<f32>;
@group(0) @binding(5) var<storage, read> rounding: array<u32>;
@group(0) @binding(6) var<uniform> p: Params;

// Into [low, high]; NaN stays NaN, so that a broken gradient shows instead of turning into a plausible pixel.
fn limit(v: vec4f, low: vec4f, high: vec4f) -> vec4f {
  return select(select(v, low, v < low), high, v > high);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  // Four quads an invocation, a workgroup's width apart.
  let first = (wg.y * num.x + wg.x) * 256u + local;
  for (var index = first; index < min(first + 256u, p.quads); index += 64u) {
    let c = (vec4u(index * 4u) + vec4u(0u, 1u, 2u, 3u)) % p.C;
    let x = original[index];
    let before = image[index];
    let pull = vec4f(shrink[c.x], shrink[c.y], shrink[c.z], shrink[c.w]) * (before - x);
    let v = before - vec4f(step[c.x], step[c.y], step[c.z], step[c.w]) * gradient[index] - pull;
    let low = x - p.radius;
    let high = x + p.radius;
    if (rounding[0] == 1u) {
      // Integer bounds keep the rounded value inside the ball whatever the radius is. round() goes to even at ties.
      image[index] = limit(round(v), ceil(max(low, vec4f())), floor(min(high, vec4f(255.0))));
    } else {
      image[index] = limit(v, low, high);
    }
  }
}
