import { readBytes } from '../datasets/files.ts';
import { hashBytes } from '../datasets/write.ts';
import type { Device } from '../gpu/device.ts';
import { Model } from './model.ts';
import { type ConfigOverrides, parseModelFile } from './model_file.ts';

export interface OpenedModel {
  readonly model: Model;
  /** SHA-256 of the file in hex: what a key binds to. */
  readonly sha256: string;
  /** What had to be concluded from the weights' shapes. */
  readonly inferred: readonly string[];
}

/** Loads a model file onto a device. Throws InputError where the file is missing, damaged or does not fit its architecture. */
export async function openModel(device: Device, path: string, overrides: ConfigOverrides = {}): Promise<OpenedModel> {
  const bytes = await readBytes(path);
  const { config, tensors, inferred } = parseModelFile(bytes, path, overrides);
  return { model: await Model.load(device, config, tensors, path), sha256: hashBytes(bytes), inferred };
}
