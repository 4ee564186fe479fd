import { readdir } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { exists, readBytes } from '../files/files.ts';
import { packageFile } from '../files/package_file.ts';
import type { MeasuredFile } from './measured.ts';
import { parseResults } from './results.ts';

/** The results to look in: the file given, or those of this project's experiments that the package brings along. */
export async function measuredFiles(given?: string): Promise<MeasuredFile[]> {
  const read = async (file: string): Promise<MeasuredFile> => ({
    file,
    results: parseResults(new TextDecoder().decode(await readBytes(file)), file),
  });
  if (given !== undefined) return [await read(given)];
  const folder = packageFile('experiments');
  if (!(await exists(folder))) return [];
  const names = (await readdir(folder)).sort().map((name) => join(folder, name, 'results.json'));
  const there = await Promise.all(names.map(async (name) => ((await exists(name)) ? [name] : [])));
  return await Promise.all(there.flat().map(async (name) => ({ ...(await read(name)), file: relative('.', name) })));
}
