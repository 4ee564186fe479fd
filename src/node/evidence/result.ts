import { parseStoredResult, type StoredResult } from '../../evidence/result.ts';
import { readBytes } from '../files/files.ts';

/**
 * Reads a result's file.
 *
 * @throws InputError naming the file, and the place in it if it is not a result.
 */
export async function readResult(path: string): Promise<StoredResult> {
  return parseStoredResult(new TextDecoder().decode(await readBytes(path)), path);
}
