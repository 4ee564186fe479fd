// Adds what the splits of a convolution summed, partial [splits, batches·pixels, O], in order, and finishes it: bias, residual, ReLU,
// gate, and the result's place in y, as the kernels do where there is one split. One invocation one `Channels`.
// Needs: gather.wgsl, epilogue.wgsl

alias Channels = vec4f;
const CHANNELS = 4u;

@group(0) @binding(5) var<storage, read> partial_: array<Channels>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) num: vec3u, @builtin(local_invocation_index) local: u32) {
  let index = (wg.y * num.x + wg.x) * 64u + local;
  let channels = p.O / CHANNELS;
  let size = p.batches * p.pixels * channels;
  if (index >= size) { return; }
  var value: Channels;
  for (var split = 0u; split < p.splits; split++) { value += partial_[split * size + index]; }
  let o = index % channels;
  let at = placeOf(index / channels) * channels + o;
  y[at] = finish(p.epilogue, addBias(p.epilogue, value, o), at);
}
