import { InputError } from '../errors.ts';
import type { Dataset } from './dataset.ts';

/** Does `work`; where an item turns out to be faulty this is noted, if the data set may have faults, and else thrown. */
export async function unlessFaulty<T>(
  dataset: Dataset,
  index: number,
  faults: Map<number, string>,
  work: () => Promise<T>,
): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (!dataset.faults || !(error instanceof InputError)) throw error;
    // Without the file's name, which stands beside it in reports.
    const at = error.message.indexOf(`${dataset.id(index)}: `);
    faults.set(index, at < 0 ? error.message : error.message.slice(at + dataset.id(index).length + 2));
    return undefined;
  }
}
