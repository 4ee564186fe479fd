import { type Matrix, parseNpyMatrix } from '../../formats/npy.ts';
import { hashBytes } from '../../formats/sha256.ts';
import { matrixPlace, parseMatrix } from '../../nn/matrix_file.ts';
import { readBytes } from './files.ts';

/** A matrix of finite numbers from `FILE.npy` or `FILE#NAME`, see `parseMatrix`, with the SHA-256 of the file. */
export async function readMatrix(given: string): Promise<Matrix<Float64Array> & { readonly sha256: string }> {
  const bytes = await readBytes(matrixPlace(given).path);
  return { ...(await parseMatrix(bytes, given)), sha256: hashBytes(bytes) };
}

/** A matrix from a `.npy` file of this program's own, float32 or float64 as it was stored. */
export async function readNpyMatrix(path: string): Promise<Matrix> {
  return parseNpyMatrix(await readBytes(path), path);
}
