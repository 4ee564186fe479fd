// Crop → bilinear resize → flip: x [pixels, C], crops [N, 5] (first pixel, pixels a row, height, width, flip) → y [N, OH, OW, C].
// Positions are exact: along a crop of `extent` pixels, result d lies at ((2d + 1)·extent − out) / (2·out), in integers.
// One invocation an element of y.

struct Params { size: u32, C: u32, OH: u32, OW: u32 }
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> crops: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> p: Params;

struct Tap { first: u32, second: u32, share: f32 }

// The two pixels result d lies between, the second no further than the last one, and the second's share.
fn tapOf(d: u32, extent: u32, out: u32) -> Tap {
  let position = max((2u * d + 1u) * extent, out) - out;
  let first = min(position / (2u * out), extent - 1u);
  return Tap(first, min(first + 1u, extent - 1u), f32(position % (2u * out)) / f32(2u * out));
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let index = (wg.y * num.x + wg.x) * 64u + local;
  if (index >= p.size) { return; }
  let c = index % p.C;
  let column = (index / p.C) % p.OW;
  let row = (index / (p.C * p.OW)) % p.OH;
  let n = index / (p.C * p.OW * p.OH);
  let first = crops[n * 5u];
  let stride = crops[n * 5u + 1u];
  let v = tapOf(row, crops[n * 5u + 2u], p.OH);
  let h = tapOf(select(column, p.OW - 1u - column, crops[n * 5u + 4u] != 0u), crops[n * 5u + 3u], p.OW);
  let upper = (first + v.first * stride) * p.C + c;
  let lower = (first + v.second * stride) * p.C + c;
  let a = fma(h.share, x[upper + h.second * p.C], (1.0 - h.share) * x[upper + h.first * p.C]);
  let b = fma(h.share, x[lower + h.second * p.C], (1.0 - h.share) * x[lower + h.first * p.C]);
  y[index] = fma(v.share, b, (1.0 - v.share) * a);
}
