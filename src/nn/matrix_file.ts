/** A matrix from a file of any framework. */

import { InputError } from '../errors.ts';
import { type Matrix, matrixOf, parseNpyMatrix } from '../formats/npy.ts';
import { toFloat64 } from '../formats/safetensors.ts';
import { parseWeights } from './model_file.ts';

/** Where a matrix is: `FILE.npy`, `FILE#NAME` of a file of weights, or such a `FILE` where it is the only one in it. */
export interface MatrixPlace {
  readonly path: string;
  /** Of a file of weights: its name there. */
  readonly name: string | undefined;
  readonly container: 'npy' | 'weights';
}

/** What `FILE#NAME` means. */
export function matrixPlace(given: string): MatrixPlace {
  const [, path, name] = /^(.*\.(?:safetensors|pth|pt))(?:#(.*))?$/s.exec(given) ?? [];
  return path === undefined ? { path: given, name, container: 'npy' } : { path, name, container: 'weights' };
}

/**
 * Reads a matrix of finite numbers from the bytes of its file.
 *
 * @param given as {@link matrixPlace} reads it, for messages.
 * @throws InputError naming the file and the place in it if there is none, or a number is NaN or infinite.
 */
export async function parseMatrix(bytes: Uint8Array, given: string): Promise<Matrix<Float64Array>> {
  const place = matrixPlace(given);
  const matrix = place.container === 'npy' ? npyMatrix(bytes, given) : await namedMatrix(bytes, given, place);
  const { data, columns } = matrix;
  const bad = data.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0)
    throw new InputError(
      `${given}: row ${Math.floor(bad / columns)}, column ${bad % columns} is ${data[bad]}; give finite numbers`,
    );
  return matrix;
}

function npyMatrix(bytes: Uint8Array, path: string): Matrix<Float64Array> {
  const matrix = parseNpyMatrix(bytes, path);
  return { ...matrix, data: Float64Array.from(matrix.data) };
}

async function namedMatrix(bytes: Uint8Array, given: string, { path, name }: MatrixPlace) {
  const { tensors, prefix } = await parseWeights(bytes, path);
  const matrices = [...tensors].filter(([, { shape }]) => shape.length === 2).map(([plain]) => plain);
  const asked = name ?? (matrices.length === 1 ? matrices[0] : '');
  // By its name in the file, or without what stands before all names there.
  const chosen = tensors.get(asked) ?? (asked.startsWith(prefix) ? tensors.get(asked.slice(prefix.length)) : undefined);
  if (chosen === undefined) {
    const what = name === undefined ? `has ${matrices.length} matrices` : `has no tensor ${name}`;
    throw new InputError(`${path}: ${what}; give ${path}#NAME with one of: ${matrices.slice(0, 8).join(', ')}`);
  }
  return matrixOf(chosen.shape, toFloat64(chosen), given);
}
