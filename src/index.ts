/**
 * The library for every runtime with WebGPU: browsers, Deno, Electron's renderer, and Node by way of `node.ts`. The adapter
 * comes from outside (`Device.open`); nothing here touches files or asks what runtime it is.
 */

// Errors: what a user can do something about, and tensors that do not go together.

export { AdapterError, DeviceError, InputError, IntegrityError, RadioactiveError, UsageError } from './errors.ts';
export { ShapeError } from './tensor/tensor.ts';

// Engine: a device, a tape of recorded operators, a program that replays it.

export { type Capabilities, Device, type DeviceOptions } from './gpu/device.ts';
export { backward } from './nn/backward.ts';
export { Program, type ProgramOptions, type StepProfile } from './tensor/program.ts';
export { Tape } from './tensor/tape.ts';
export type { DType, Shape, Tensor } from './tensor/tensor.ts';
export { Variable } from './tensor/variable.ts';

// Operators of one's own: a WGSL file and a node.

export { type Constants, defineKernel, type Kernel } from './gpu/kernel.ts';
export type { Launch, LaunchContext, NodeSpec } from './tensor/tape.ts';
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
export { type Conv2dOptions, conv2d, linear } from './shaders/conv2d/conv2d.ts';
export { type CropResizeOptions, cropResize, packCrops } from './shaders/crop_resize/crop_resize.ts';
export { type DropoutOptions, dropout } from './shaders/dropout/dropout.ts';
export { expand } from './shaders/expand/expand.ts';
export { fill } from './shaders/fill/fill.ts';
export { globalAveragePool } from './shaders/global_average_pool/global_average_pool.ts';
export { maxPool2d } from './shaders/max_pool2d/max_pool2d.ts';
export { type Normalisation, normalise } from './shaders/normalise/normalise.ts';
export type { Pool2dOptions } from './shaders/pool2d.ts';
export { relu } from './shaders/relu/relu.ts';
export { reshape } from './shaders/reshape/reshape.ts';
export { scale } from './shaders/scale/scale.ts';
export { softmax } from './shaders/softmax/softmax.ts';
export { softmaxCrossEntropy } from './shaders/softmax_cross_entropy/softmax_cross_entropy.ts';
export { squaredDistance } from './shaders/squared_distance/squared_distance.ts';
export { sumRows } from './shaders/sum_rows/sum_rows.ts';
export { swapLastTwo } from './shaders/transpose/transpose.ts';

// Optimisers: update variables in place.

export { type AdamOptions, type AdamTensors, adam } from './shaders/adam/adam.ts';
export { type SgdOptions, type SgdTensors, sgd } from './shaders/sgd/sgd.ts';

// Whether a device computes rightly.

export { requireSelfTest, type SelfTest, selfTest } from './shaders/selftest.ts';

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
  defineNetwork,
  type Initial,
  type Network,
  type NetworkOption,
  type NetworkOptions,
  type OptionValues,
} from './nn/network.ts';
export { type NetworkConfig, type NetworkOptionValues, networks } from './nn/networks.ts';
export { Parameter } from './nn/parameter.ts';
export type { ConvolutionOptions, ParameterKind, ParameterSpec, Recorder } from './nn/recorder.ts';

// Features and logits of a frozen network.

export {
  accuracy,
  evaluationCrop,
  FeatureExtractor,
  fitBatch,
  type InferenceOptions,
  infer as extractFeatures,
  networkInput,
  type OnProgress,
} from './nn/inference.ts';

// Keys: the secret, its carriers, the commitment.

export { type Beacon, describeBeacon, drandRoundAt, drandRoundTime, QUICKNET } from './marking/beacon.ts';
export type { CarrierPurpose, Carriers } from './marking/carriers.ts';
export { type ChoiceOptions, chooseForMarking } from './marking/choice.ts';
export { type KeyGuarantee, keyGuarantees } from './marking/guarantees.ts';
export {
  awaitsBeacon,
  type BlackBoxStatistic,
  checkKeyMatches,
  commitment,
  completeKey,
  createKey,
  type Key,
  type KeyOptions,
  keyBasis,
  keyBeacon,
  keyCarriers,
  keyProbeOrders,
  keySource,
  parseKey,
  serializeKey,
  type VanillaImages,
} from './marking/key.ts';
export { keyOrder, keyStream, type StreamSource } from './marking/key_stream.ts';
export {
  BLACK_BOX_SUBSPACE_DIMENSION,
  DEFAULT_SUBSPACE_DIMENSION,
  type KeygenOptions,
  keygen,
  type RecomputedSubspace,
  recomputeSubspace,
  vanillaImages,
  vanillaSubspace,
} from './marking/keygen.ts';
export { type ProbeManifest, parseProbeManifest, probeLayout } from './marking/probe_manifest.ts';

// Marking: images with their carriers to marked images, or one iteration recorded on a tape.

export {
  defaultMarkingRecipe,
  Marker,
  type MarkingJob,
  type MarkingRecipe,
  type MarkOptions,
  markingRecipeFor,
  recordMarkingStep,
} from './marking/marker.ts';

// Training: a whole run, or the step recorded on a tape.

export { defaultRecipe, learningRateAt, type Recipe, type Setting } from './training/recipe.ts';
export {
  createMomenta,
  recordDescent,
  type Teacher,
  type TrainingState,
  type TrainOptions,
  train,
} from './training/train.ts';

// Detection: from models, from features, from scores; what tests give where there is nothing to find.

export {
  type BlackBoxInput,
  type BlackBoxResult,
  blackBoxTest,
  type Combination,
  marksAlike,
} from './detection/blackbox.ts';
export {
  type CalibrateBlackBoxOptions,
  type CalibrateWhiteBoxOptions,
  calibrateBlackBox,
  calibrateWhiteBox,
} from './detection/calibrate.ts';
export { fisherOfRanks, rankTest } from './detection/decoy.ts';
export {
  type DetectionResult,
  type DetectOptions,
  detect,
  heldOutFeatures,
  type SuspectFeatures,
  testFeatures,
} from './detection/detect.ts';
export {
  type BlackBoxDetection,
  type DetectBlackBoxOptions,
  detectBlackBox,
  type OnProbes,
  type ProbeResponses,
  probeResponses,
  probeScores,
  testScores,
} from './detection/detect_blackbox.ts';
export { freshCoordinates } from './detection/fresh_keys.ts';
export {
  type ClassWeightsInCarriers,
  classWeightsInCarriers,
  type RecognisedFrequencies,
  recogniseFrequencies,
} from './detection/recognise.ts';
export { type ModelScores, type ProbeLayout, probeResponse, type ScoreKind } from './detection/scores.ts';
export { type Calibration, calibration, type NullSample, type Statistic } from './detection/statistic.ts';
export { type ClassEvidence, type WhiteBoxInput, type WhiteBoxResult, whiteBoxTest } from './detection/whitebox.ts';
export { classIrrelevantSubspace, type SubspaceInput, subspaceDistance } from './marking/subspace.ts';

// Statistics, in log space.

export { log10PCosine } from './maths/cosine.ts';
export { fisherLog10P } from './maths/fisher.ts';
export { type Elements, type LeastSquares, type LeastSquaresOptions, leastSquares } from './maths/linalg.ts';
export { stratifiedSumLog10P } from './maths/permutation.ts';

// Data sets: any object that is a `Dataset`, decoded ahead of the device; the manifest of a marked one.

export type { Dataset } from './datasets/dataset.ts';
export { type Batch, type CropOf, Loader } from './datasets/loader.ts';
export { type Manifest, type ManifestImage, parseManifest, serializeManifest } from './datasets/manifest.ts';
export { type Amount, type Selection, selectStratified } from './datasets/select.ts';

// Images of 8-bit levels, crops, quality.

export { type Crop, centreSquare, type RandomCropOptions, randomCrop, wholeImage } from './images/crop.ts';
export { checkImage, type Image8, type ImageShape } from './images/image.ts';
export { psnr, ssim } from './images/metrics.ts';
export { cutRegion, type Region } from './images/region.ts';

// File formats, from and to bytes.

export { type IdxArray, type ParseIdxOptions, parseIdx, serializeIdx } from './formats/idx.ts';
export { type NpyArray, parseNpy, serializeNpy } from './formats/npy.ts';
export { type PthFile, parsePth } from './formats/pth.ts';
export {
  parseSafetensors,
  type SafetensorsDtype,
  type SafetensorsFile,
  type SafetensorsTensor,
  serializeSafetensors,
  type TensorData,
  toFloat32,
  toFloat64,
  toInt64Numbers,
} from './formats/safetensors.ts';

// Where the time of long work goes.

export { Stopwatch } from './stopwatch.ts';

// Seeded random numbers, the same on every machine.

export { derive, Random } from './random.ts';
