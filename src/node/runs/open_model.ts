import { hashBytes } from '../../formats/sha256.ts';
import type { Device } from '../../gpu/device.ts';
import { Model } from '../../nn/model.ts';
import { type ConfigOverrides, parseModelFile } from '../../nn/model_file.ts';
import { readBytes } from '../files/files.ts';

/** A model file on a device; `model.destroy()` is for whoever opened it. */
export interface OpenedModel {
  /** On the device. */
  readonly model: Model;
  /** SHA-256 of the file in hex: what a key binds to. */
  readonly sha256: string;
  /** What had to be concluded from the weights' names and shapes. */
  readonly inferred: readonly string[];
  /** What the file says of itself where it was told otherwise. */
  readonly contradicted: Readonly<Record<string, unknown>>;
}

/**
 * Loads a model file, safetensors or `.pth`, onto a device. Throws InputError where the file is missing, damaged or does not fit its
 * architecture. `check` sees the file's SHA-256 before anything else is done, and may throw.
 */
export async function openModel(
  device: Device,
  path: string,
  overrides: ConfigOverrides = {},
  check?: (sha256: string) => void,
): Promise<OpenedModel> {
  const bytes = await readBytes(path);
  const sha256 = hashBytes(bytes);
  check?.(sha256);
  const { config, tensors, inferred, contradicted } = await parseModelFile(bytes, path, overrides);
  return { model: await Model.load(device, config, tensors, path), sha256, inferred, contradicted };
}
