/**
 * Tensors on a WebGPU device: a tape records operators, a program plans and replays them, networks are made of them.
 * Nothing here asks what runtime it is: the adapter comes from outside (`openCheckedDevice`).
 *
 * @module engine
 */

// Engine: a device, a tape of recorded operators, a program that replays it.

export { type Capabilities, Device, type DeviceOptions, type Precision } from './gpu/device.ts';
export { backward } from './shaders/backward.ts';
export type { Place } from './tensor/placement.ts';
export type { Plan } from './tensor/plan.ts';
export { Program, type ProgramOptions, type StepProfile } from './tensor/program.ts';
export { Tape, type TapeOptions } from './tensor/tape.ts';
export type { DType, Shape, Tensor } from './tensor/tensor.ts';
export { ShapeError } from './tensor/tensor.ts';
export { Variable } from './tensor/variable.ts';

// Operators of one's own: a WGSL file and a node.

export { type Constants, defineKernel, type Kernel } from './gpu/kernel.ts';
export type { Finish, Launch, LaunchContext, Node, NodeSpec } from './tensor/tape.ts';
export { shapeError } from './tensor/tensor.ts';

// Operators: each appends a node to its tensors' tape. Images are channels last, [N, H, W, C].

export { adaptiveAvgPool2d } from './shaders/adaptive_avg_pool2d/adaptive_avg_pool2d.ts';
export { add } from './shaders/add/add.ts';
export { avgPool2d } from './shaders/avg_pool2d/avg_pool2d.ts';
export {
  type BatchNormOptions,
  type BatchNormTensors,
  batchNorm,
  foldBatchNorm,
} from './shaders/batch_norm/batch_norm.ts';
export { clamp } from './shaders/clamp/clamp.ts';
export { concat, slice } from './shaders/concat/concat.ts';
export { constant } from './shaders/constant/constant.ts';
export { type Conv2dOptions, conv2d } from './shaders/conv2d/conv2d.ts';
export { type CropResizeOptions, cropResize, packCrops } from './shaders/crop_resize/crop_resize.ts';
export { type DropoutOptions, dropout } from './shaders/dropout/dropout.ts';
export { expand } from './shaders/expand/expand.ts';
export { fill } from './shaders/fill/fill.ts';
export { globalAveragePool } from './shaders/global_average_pool/global_average_pool.ts';
export { jpegRoundTrip, type PackedPictures, packPictures } from './shaders/jpeg_round_trip/jpeg_round_trip.ts';
export { linear } from './shaders/linear/linear.ts';
export { maxPool2d } from './shaders/max_pool2d/max_pool2d.ts';
export { mix } from './shaders/mix/mix.ts';
export { type Normalisation, normalise } from './shaders/normalise/normalise.ts';
export type { Pool2dOptions } from './shaders/pool2d.ts';
export { relu } from './shaders/relu/relu.ts';
export { reshape } from './shaders/reshape/reshape.ts';
export { packSizes, resizeSmaller } from './shaders/resize_smaller/resize_smaller.ts';
export { scale } from './shaders/scale/scale.ts';
export { softmax } from './shaders/softmax/softmax.ts';
export { softmaxCrossEntropy } from './shaders/softmax_cross_entropy/softmax_cross_entropy.ts';
export { squaredDistance } from './shaders/squared_distance/squared_distance.ts';
export { sumRows } from './shaders/sum_rows/sum_rows.ts';
export { swapLastTwo } from './shaders/transpose/transpose.ts';

// Optimisers: update variables in place.

export { type AdamOptions, type AdamTensors, adam } from './shaders/adam/adam.ts';
export { clipScale } from './shaders/clip_scale/clip_scale.ts';
export { movingAverage } from './shaders/moving_average/moving_average.ts';
export { type SgdOptions, type SgdTensors, sgd } from './shaders/sgd/sgd.ts';

// Whether a device computes rightly: opened with the test, or the test by itself.

export { openCheckedDevice, requireSelfTest, type SelfTest, selfTest } from './shaders/selftest.ts';

// Networks and their weights.

export { initialStateDict, MisfitError, Model } from './nn/model.ts';
export {
  type ConfigOverrides,
  type ModelFile,
  parseModelFile,
  parseWeights,
  type StoredWeights,
  serializeModel,
  serializeModelFile,
} from './nn/model_file.ts';
export {
  type Alias,
  type ChoiceOption,
  type CountOption,
  defineNetwork,
  type Initial,
  type Network,
  type NetworkOption,
  type NetworkOptions,
  type OptionValues,
  type ShapeOf,
  type ShareOption,
} from './nn/network.ts';
export { type NetworkConfig, type NetworkOptionValues, networks } from './nn/networks.ts';
export { Parameter } from './nn/parameter.ts';
export type { ConvolutionOptions, ParameterKind, ParameterSpec, Recorder } from './nn/recorder.ts';
