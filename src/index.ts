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

export {
  type Beacon,
  type BeaconValue,
  beaconValue,
  checkBeacon,
  describeBeacon,
  drandRoundAt,
  drandRoundTime,
  QUICKNET,
} from './marking/beacon.ts';
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
  type HeldOutImages,
  type Key,
  type KeyOptions,
  keyBasis,
  keyBeacon,
  keyCarriers,
  keyProbeOrders,
  keySource,
  type NamedImages,
  parseKey,
  serializeKey,
} from './marking/key.ts';
export { keyOrder, keyStream, type StreamSource } from './marking/key_stream.ts';
export {
  BLACK_BOX_SUBSPACE_DIMENSION,
  carrierSpace,
  DEFAULT_SUBSPACE_DIMENSION,
  type KeygenOptions,
  keygen,
  nameImages,
  type RecomputedSubspace,
  recomputeSubspace,
  SAME_SUBSPACE,
  vanillaSubspace,
} from './marking/keygen.ts';
export { type ProbeLayout, type ProbeManifest, parseProbeManifest, probeLayout } from './marking/probe_manifest.ts';
export { type NamedManifest, VanillaImages } from './marking/vanilla.ts';

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

export {
  type BatchCodings,
  type BatchHandling,
  Marker,
  type MarkingJob,
  type MarkOptions,
  recordMarkingStep,
} from './marking/marker.ts';
export { type PreviewedMark, type PreviewOptions, previewMarks } from './marking/preview.ts';
export { defaultMarkingRecipe, type MarkingRecipe, markingRecipeFor } from './marking/recipe.ts';

// What is left of marks after what may happen to published images.

export {
  type MarkedPair,
  measureSurvival,
  type Survival,
  type SurvivalOptions,
  type SurvivalReport,
} from './marking/survival.ts';
export { survivalPlot, survivalTable } from './marking/survival_figure.ts';

// Training: a whole run, or the step recorded on a tape.

export { defaultRecipe, learningRateAt, type Recipe, type Setting } from './training/recipe.ts';
export {
  createMomenta,
  recordDescent,
  type Teacher,
  type TrainingCheckpoint,
  type TrainingState,
  type TrainOptions,
  train,
} from './training/train.ts';

// Detection: from models, from features, from scores; what tests give where there is nothing to find.

export { type Agreement, AT_CHANCE_ABOVE, agreement } from './detection/agreement.ts';
export { type ArrayFiles, type StoredArrays, serializeFeatures, serializeScores } from './detection/arrays.ts';
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
export { ClassMapping } from './detection/class_mapping.ts';
export { fisherOfRanks, rankTest } from './detection/decoy.ts';
export {
  arraysOf,
  type DetectOptions,
  detect,
  type HeldOutFeatures,
  type HeldOutModels,
  heldOutFeatures,
  type Suspect,
  type SuspectFeatures,
  type TestFeaturesOptions,
  testArrays,
  testFeatures,
  type WhiteBoxArrays,
  type WhiteBoxAssumptions,
  type WhiteBoxFinding,
} from './detection/detect.ts';
export {
  type BlackBoxFinding,
  type DetectBlackBoxOptions,
  detectBlackBox,
  type OnProbes,
  type ProbeResponses,
  probeResponses,
  probeScores,
  type TestScoresOptions,
  testScores,
} from './detection/detect_blackbox.ts';
export { DOUBTS, type Doubt, type Doubtful, type DoubtName, doubtsOf } from './detection/doubts.ts';
export { freshCoordinates } from './detection/fresh_keys.ts';
export { heldOutMarks, MARKED_BELOW } from './detection/held_out_marks.ts';
export {
  type ClassWeightsInCarriers,
  classWeightsInCarriers,
  type RecognisedFrequencies,
  recogniseFrequencies,
} from './detection/recognise.ts';
export { type ProbeList, parseScores, type ScoredProbes } from './detection/score_file.ts';
export { ModelScores, probeResponse, type ScoreKind } from './detection/scores.ts';
export { type Calibration, calibration, type Finding, type NullSample, type Statistic } from './detection/statistic.ts';
export {
  type ProductTest,
  type Retested,
  TEST_NAMES,
  TESTS,
  type TestName,
  type ToldOfTest,
} from './detection/tests.ts';
export { type ClassEvidence, type WhiteBoxInput, type WhiteBoxResult, whiteBoxTest } from './detection/whitebox.ts';
export { classIrrelevantSubspace, type SubspaceInput, subspaceDistance } from './marking/subspace.ts';

// Evidence: a finding becomes a result that is counted in the key's register; others check all of it again.

export { CHECK_STATES, type Check, type CheckState } from './evidence/check.ts';
export { datasetCommitment, type MarkedFolder } from './evidence/commitment.ts';
export type { Evidence, NamedBytes, VerifyOptions } from './evidence/material.ts';
export {
  appendLook,
  bonferroni,
  type Look,
  type NewLook,
  newRegister,
  parseRegister,
  type Register,
  serializeRegister,
} from './evidence/register.ts';
export {
  type Circumstances,
  concludeTest,
  hashResult,
  parseStoredResult,
  type Result,
  type StoredResult,
} from './evidence/result.ts';
export { stampedHash, timeStampRequest, verifyTimeStamp } from './evidence/time_stamps.ts';
export type { ReplyOptions, TimeStamp, TrustedRoot } from './evidence/timestamp.ts';
export { concludeVerification, parseVerification, type Verification } from './evidence/verification.ts';
export { verificationLimits, verifyEvidence } from './evidence/verify.ts';

// Report: what is said of a result, as plain values and as one page.

export { describeMarked, type MarkedSources } from './report/marked.ts';
export { reportPage, type ShownExample, type ShownImage } from './report/page.ts';
export { makeReport, type ReportInput } from './report/report.ts';
export type { Report } from './report/schema.ts';

// Data sets: any object that is a `Dataset`, decoded ahead of the device; the manifest of a marked one.

export type { Dataset, DatasetFormat, DatasetWriter, WriterOptions, WrittenItem } from './datasets/dataset.ts';
export { subset } from './datasets/dataset.ts';
export { DATASET_FORMATS, type FormatName, type FormatTraits } from './datasets/format.ts';
export { hashDataset } from './datasets/hash.ts';
export { type Augment, type Batch, type CropOf, Loader } from './datasets/loader.ts';
export { type Manifest, type ManifestImage, parseManifest, serializeManifest } from './datasets/manifest.ts';
export {
  describeOverlap,
  findOverlap,
  MOST_ALIKE,
  type Overlap,
  type OverlapPair,
  type OverlapSource,
  overlapFault,
} from './datasets/overlap.ts';
export { type Amount, type Selection, selectStratified } from './datasets/select.ts';

// Where the time of long work goes.

export { Stopwatch } from './stopwatch.ts';
