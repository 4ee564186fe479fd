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

// From files to files: a model, a marked data set, probes, a training run.

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
export type { TeacherFile } from './runs/teacher.ts';
export { runTraining, type TrainingReport, type TrainingRunOptions } from './runs/training_run.ts';
