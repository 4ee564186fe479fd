import type { Dataset } from '../../datasets/dataset.ts';
import { InputError } from '../../errors.ts';
import { parseNpy } from '../../formats/npy.ts';
import { hashBytes } from '../../formats/sha256.ts';
import type { Device } from '../../gpu/device.ts';
import { describeInferred } from '../../nn/model_file.ts';
import type { Teacher } from '../../training/train.ts';
import { readBytes } from '../files/files.ts';
import { openModel } from './open_model.ts';

/** A teacher in files: a model, or the scores that any classifier gave the images, one row each in their order. */
export type TeacherFile = { readonly model: string } | { readonly scores: string };

export interface OpenedTeacher {
  readonly teacher: Teacher;
  readonly record: {
    readonly path: string;
    readonly sha256: string;
    /** What was read: a model, or scores taken as what they are. */
    readonly kind: 'model' | 'logits' | 'probabilities';
  };
  /** What was concluded, for the user to see. */
  readonly remark?: string | undefined;
  destroy(): void;
}

/** Opens a teacher of a data set's classes. Throws InputError where it is damaged or not of those. */
export async function openTeacher(
  device: Device,
  file: TeacherFile,
  dataset: Dataset,
  channels: number,
): Promise<OpenedTeacher> {
  const K = dataset.classes.length;
  if ('scores' in file) return await readScores(file.scores, dataset);
  const { model, sha256, inferred } = await openModel(device, file.model);
  const { config } = model;
  const problem =
    config.numClasses !== K
      ? `has ${config.numClasses} classes, ${dataset.path} ${K}; give a teacher of those`
      : config.channels !== channels
        ? `takes ${config.channels} channels, the network to train ${channels}; give a teacher that sees the same images`
        : undefined;
  if (problem) {
    model.destroy();
    throw new InputError(`${file.model}: ${problem}`);
  }
  return {
    teacher: { model },
    record: { path: file.model, sha256, kind: 'model' },
    ...(inferred.length > 0 && { remark: describeInferred(file.model, inferred) }),
    destroy: () => model.destroy(),
  };
}

/** By so much may a row of probabilities differ from 1 in sum: APIs round. */
const SUM_TOLERANCE = 0.01;

async function readScores(path: string, dataset: Dataset): Promise<OpenedTeacher> {
  const bytes = await readBytes(path);
  const { dtype, shape, data } = parseNpy(bytes, path);
  if (dtype !== 'f4' && dtype !== 'f8') throw new InputError(`${path}: holds integers; save float32 or float64`);
  const [N, K] = [dataset.length, dataset.classes.length];
  if (shape.join() !== [N, K].join())
    throw new InputError(
      `${path}: is [${shape.join(', ')}], ${dataset.path} has ${N} images of ${K} classes; give a row of scores for each image, in its order`,
    );
  const scores = Float64Array.from(data as Float32Array | Float64Array);
  const rows = Array.from({ length: N }, (_, row) => scores.subarray(row * K, (row + 1) * K));
  // Of log-probabilities one may be minus infinity, but not all.
  const bad = rows.findIndex((row) => !Number.isFinite(Math.max(...row)));
  if (bad >= 0) throw new InputError(`${path}: row ${bad} is ${rows[bad].join(', ')}; give numbers`);
  const probabilities = rows.every(
    (row) => row.every((p) => p >= 0) && Math.abs(row.reduce((sum, p) => sum + p, 0) - 1) <= SUM_TOLERANCE,
  );
  const kind = probabilities ? 'probabilities' : 'logits';
  return {
    teacher: { logits: Float32Array.from(probabilities ? scores.map(Math.log) : scores) },
    record: { path, sha256: hashBytes(bytes), kind },
    remark: `${path}: taken as ${kind}`,
    destroy: () => undefined,
  };
}
