/**
 * The method: keys, marking, training, detection. It runs wherever WebGPU does: browsers, Deno, Electron's renderer, Node.
 * Devices and models come from `radioactive/engine`, or from `radioactive/node`, which opens files too.
 *
 * @module radioactive
 */

// What a user can do something about.

export {
  AdapterError,
  DeviceError,
  InputError,
  IntegrityError,
  MissingModuleError,
  RadioactiveError,
  UsageError,
} from './errors.ts';

// Keys: the secret, its carriers, the commitment.

export type { CarrierPurpose, Carriers } from './marking/carriers.ts';
export {
  type BlackBoxStatistic,
  checkKeyMatches,
  commitment,
  createKey,
  type HeldOutImages,
  type Key,
  type KeyOptions,
  keyCarriers,
  keyProbeOrders,
  parseKey,
  serializeKey,
} from './marking/key.ts';
export {
  BLACK_BOX_SUBSPACE_DIMENSION,
  DEFAULT_SUBSPACE_DIMENSION,
  type KeygenOptions,
  keygen,
  vanillaSubspace,
} from './marking/keygen.ts';
export { type ProbeLayout, type ProbeManifest, parseProbeManifest, probeLayout } from './marking/probe_manifest.ts';

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

// Marking: images with their carriers to marked images, or one iteration recorded on a tape.

export { Marker, type MarkingJob, type MarkOptions, recordMarkingStep } from './marking/marker.ts';
export { type PreviewedMark, type PreviewOptions, previewMarks } from './marking/preview.ts';
export { defaultMarkingRecipe, type MarkingRecipe, markingRecipeFor } from './marking/recipe.ts';

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
  type HeldOut,
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
export { type ModelScores, probeResponse, type ScoreKind } from './detection/scores.ts';
export { type Calibration, calibration, type NullSample, type Statistic } from './detection/statistic.ts';
export { type ClassEvidence, type WhiteBoxInput, type WhiteBoxResult, whiteBoxTest } from './detection/whitebox.ts';
export { classIrrelevantSubspace, type SubspaceInput } from './marking/subspace.ts';

// Data sets: any object that is a `Dataset`, decoded ahead of the device; the manifest of a marked one.

export type { Dataset, DatasetFormat, DatasetWriter, WrittenItem } from './datasets/dataset.ts';
export { subset } from './datasets/dataset.ts';
export { FORMATS, type FormatName, type FormatTraits } from './datasets/format.ts';
export { hashDataset } from './datasets/hash.ts';
export { type Batch, type CropOf, Loader } from './datasets/loader.ts';
export { type Manifest, type ManifestImage, parseManifest, serializeManifest } from './datasets/manifest.ts';
export { type Amount, type Selection, selectStratified } from './datasets/select.ts';

// Where the time of long work goes.

export { Stopwatch } from './stopwatch.ts';
