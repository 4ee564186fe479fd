/**
 * What only Node has: Dawn's devices, data sets and models on disk, runs from files to files that can be stopped and go on.
 *
 * @module node
 */

// Devices, by the module webgpu.

export { listAdapters, type NodeDeviceOptions, openDevice, openGpu } from './device.ts';

// Data sets on disk.

export { type OpenDatasetOptions, openDataset } from './datasets/open.ts';
export { type OpenWriterOptions, openDatasetWriter } from './datasets/write.ts';
export { hashFile, writeAtomic } from './files/write.ts';

// What decodes and encodes image files in Node.

export { nodeCodec, nodePortableCodec } from './images/codec.ts';
export { sharpCodec } from './images/sharp.ts';

// The files of evidence: registers, results, and the arrays they were made from.

export { readArrays, saveArrays } from './evidence/arrays.ts';
export { openMarked } from './evidence/marked.ts';
export { beginRegister, enterLook, readRegister, registerPath } from './evidence/register.ts';
export { readResult } from './evidence/result.ts';
export { assembleReport, openEvidence, type ReportSources, readVerification } from './report/assemble.ts';

// From files to files: a model, a marked data set, probes, a training run; a test, what others check of it, a calibration.

export { type CalibrationFiles, type CalibrationReport, runCalibration } from './runs/calibrate.ts';
export { type Display, quietContext, type RunContext } from './runs/context.ts';
export {
  type BlackBoxFiles,
  type DetectionFiles,
  type DetectionOutputs,
  runDetection,
  type WhiteBoxFiles,
} from './runs/detect.ts';
export { checkVanilla, openHeldOut, openKey, saveKey } from './runs/inputs.ts';
export {
  type MakeProbesOptions,
  makeProbes,
  type OpenedProbes,
  openProbeImages,
  openProbes,
  probeRecipeFor,
} from './runs/make_probes.ts';
export { type MarkDatasetOptions, markDataset } from './runs/mark_dataset.ts';
export { type OpenedModel, openModel } from './runs/open_model.ts';
export type { MarkedFiles } from './runs/overlap.ts';
export type { AskedModel } from './runs/probe_scores.ts';
export { type DatasetSurvivalOptions, datasetSurvival, runSurvival, type SurvivalFiles } from './runs/survive.ts';
export type { SuspectFiles } from './runs/suspect.ts';
export type { TeacherFile } from './runs/teacher.ts';
export { runTraining, type TrainingReport, type TrainingRunOptions } from './runs/training_run.ts';
export { type DatasetFiles, runVerification, type VerificationFiles } from './runs/verify.ts';
