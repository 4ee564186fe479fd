// The sums the gradient needs, over the rows of a split: dbeta[split, c] = Σ dy, dgamma[split, c] = Σ dy·x̂ with
// x̂ = (x − mean)·inverse. x, dy [R, C], saved [2, C] = (mean, inverse). One invocation a split and channel.

struct Params { rows: u32, C: u32, rowsPerSplit: u32, splits: u32 }
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> saved: array<f32>;
@group(0) @binding(3) var<storage, read_write> dgamma: array<f32>;
@group(0) @binding(4) var<storage, read_write> dbeta: array<f32>;
@group(0) @binding(5) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let index = (wg.y * num.x + wg.x) * 64u + local;
  if (index >= p.splits * p.C) { return; }
  let c = index % p.C;
  let begin = (index / p.C) * p.rowsPerSplit;
  let end = min(begin + p.rowsPerSplit, p.rows);
  let mean = saved[c];
  var sum = vec4f();
  var product = vec4f();
  var r = begin;
  for (; r + 4u <= end; r += 4u) {
    let i = r * p.C + c;
    let d = vec4f(dy[i], dy[i + p.C], dy[i + 2u * p.C], dy[i + 3u * p.C]);
    let v = vec4f(x[i], x[i + p.C], x[i + 2u * p.C], x[i + 3u * p.C]) - mean;
    sum += d;
    product = fma(d, v, product);
  }
  for (; r < end; r++) {
    let d = dy[r * p.C + c];
    sum.x += d;
    product.x = fma(d, x[r * p.C + c] - mean, product.x);
  }
  dbeta[index] = (sum.x + sum.y) + (sum.z + sum.w);
  dgamma[index] = ((product.x + product.y) + (product.z + product.w)) * saved[p.C + c];
}
