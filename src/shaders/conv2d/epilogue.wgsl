// What follows the sums of a convolution, in this order: bias, residual, ReLU, gate. Which of them comes with each launch, as a CPU
// adapter takes long to compile a variant. A piece of conv2d_*.wgsl, conv2d_splits.wgsl and winograd_output.wgsl.

alias Channels = vec4f;  // what one value of the results holds: one, two or four output channels

@group(0) @binding(0) var<storage, read> bias: array<Channels>;  // [O], added to every pixel
@group(0) @binding(1) var<storage, read> residual: array<Channels>;  // of y's shape, added
@group(0) @binding(2) var<storage, read> gate: array<Channels>;  // of y's shape: leaves 0 where it is not positive
@group(0) @binding(3) var<storage, read_write> y: array<Channels>;

// Bits of `epilogue`.
const BIAS = 1u;
const RESIDUAL = 2u;
const RELU = 4u;
const GATE = 8u;

fn addBias(epilogue: u32, sum: Channels, channel: u32) -> Channels {
  var value = sum;
  if ((epilogue & BIAS) != 0u) { value += bias[channel]; }
  return value;
}

/** ReLU and gate. NaN stays NaN, and where the gate is NaN the value passes, as PyTorch has it. */
fn activate(epilogue: u32, sum: Channels, at: u32) -> Channels {
  var value = sum;
  if ((epilogue & RELU) != 0u) { value = select(value, Channels(), value <= Channels()); }
  if ((epilogue & GATE) != 0u) { value = select(value, Channels(), gate[at] <= Channels()); }
  return value;
}

/** All that follows the bias, for the value of y at `at`. */
fn finish(epilogue: u32, sum: Channels, at: u32) -> Channels {
  var value = sum;
  if ((epilogue & RESIDUAL) != 0u) { value += residual[at]; }
  return activate(epilogue, value, at);
}
