import type { Dataset } from '../../datasets/dataset.ts';
import { InputError } from '../../errors.ts';
import { parseNpyMatrix } from '../../formats/npy.ts';
import { hashBytes } from '../../formats/sha256.ts';
import type { Device } from '../../gpu/device.ts';
import { areProbabilities, logProbabilities } from '../../maths/probabilities.ts';
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
  if ('scores' in file) return await openScores(file.scores, dataset);
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

async function openScores(path: string, dataset: Dataset): Promise<OpenedTeacher> {
  const bytes = await readBytes(path);
  const matrix = parseNpyMatrix(bytes, path);
  const [N, K] = [dataset.length, dataset.classes.length];
  if (matrix.rows !== N || matrix.columns !== K)
    throw new InputError(
      `${path}: is [${matrix.rows}, ${matrix.columns}], ${dataset.path} has ${N} images of ${K} classes; give a row of scores for each image, in its order`,
    );
  const scores = Float64Array.from(matrix.data);
  const rows = Array.from({ length: N }, (_, row) => scores.subarray(row * K, (row + 1) * K));
  // Of log-probabilities one may be minus infinity, but not all.
  const bad = rows.findIndex((row) => !Number.isFinite(Math.max(...row)));
  if (bad >= 0) throw new InputError(`${path}: row ${bad} is ${rows[bad].join(', ')}; give numbers`);
  const probabilities = areProbabilities(scores, K);
  const kind = probabilities ? 'probabilities' : 'logits';
  return {
    teacher: { logits: Float32Array.from(probabilities ? logProbabilities(scores) : scores) },
    record: { path, sha256: hashBytes(bytes), kind },
    remark: `${path}: taken as ${kind}`,
    destroy: () => undefined,
  };
}
