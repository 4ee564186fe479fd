// What the adapter can do at most, measured rather than looked up. A workgroup works on 1024 vec4f of x and y.
// COPY: an invocation moves 16 vec4f, neighbours next to each other.
// Otherwise an invocation does `iterations` × 8 multiply-adds on each of 12 numbers, which stay in registers: the 12 chains are
// independent, so that no unit waits, and 8 turns are written out, so that the loop itself costs little.

const COPY = false;

struct Params { iterations: u32, a: f32, b: f32 }
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(2) var<uniform> p: Params;

fn eight(s: f32, a: f32, b: f32) -> f32 {
  let four = fma(fma(fma(fma(s, a, b), a, b), a, b), a, b);
  return fma(fma(fma(fma(four, a, b), a, b), a, b), a, b);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let i = (wg.y * num.x + wg.x) * 1024u + local;
  if (COPY) {
    for (var k = 0u; k < 16u; k++) { y[i + k * 64u] = x[i + k * 64u]; }
    return;
  }
  let a = p.a;
  let b = p.b;
  var s0 = x[i].x;
  var s1 = s0 + 1.0;
  var s2 = s0 + 2.0;
  var s3 = s0 + 3.0;
  var s4 = s0 + 4.0;
  var s5 = s0 + 5.0;
  var s6 = s0 + 6.0;
  var s7 = s0 + 7.0;
  var s8 = s0 + 8.0;
  var s9 = s0 + 9.0;
  var s10 = s0 + 10.0;
  var s11 = s0 + 11.0;
  for (var k = 0u; k < p.iterations; k++) {
    s0 = eight(s0, a, b);
    s1 = eight(s1, a, b);
    s2 = eight(s2, a, b);
    s3 = eight(s3, a, b);
    s4 = eight(s4, a, b);
    s5 = eight(s5, a, b);
    s6 = eight(s6, a, b);
    s7 = eight(s7, a, b);
    s8 = eight(s8, a, b);
    s9 = eight(s9, a, b);
    s10 = eight(s10, a, b);
    s11 = eight(s11, a, b);
  }
  y[i] = vec4f(s0, s1, s2, s3) + vec4f(s4, s5, s6, s7) + vec4f(s8, s9, s10, s11);
}
