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
    faults.set(index, reasonOf(error, dataset.id(index)));
    return undefined;
  }
}

/** What an error says of a file, without its name, which stands beside it in reports. */
export function reasonOf({ message }: InputError, id: string): string {
  const at = message.indexOf(`${id}: `);
  return at < 0 ? message : message.slice(at + id.length + 2);
}

/** Faulty files that one message names. */
export const SHOWN_FAULTS = 20;

/** One error for all files that cannot be used, each with its reason; `file` is what a message calls one alone, default its id. */
export function severalFaults(
  path: string,
  faults: readonly { readonly id: string; readonly file?: string; readonly reason: string }[],
): InputError {
  const [{ id, file = id, reason }] = faults;
  if (faults.length === 1) return new InputError(`${file}: ${reason}`);
  const parts = faults.map((fault) => ({ id: fault.id, ...halves(fault.reason) }));
  const listed = parts.slice(0, SHOWN_FAULTS).map((part) => `${JSON.stringify(part.id).slice(1, -1)} (${part.what})`);
  const cures = new Set(parts.map(({ cure }) => cure).filter(Boolean));
  const more = faults.length > SHOWN_FAULTS ? ', …' : '';
  return new InputError(
    `${path}: ${faults.length} images cannot be used: ${listed.join(', ')}${more}; ${[...cures].slice(0, 3).join('; ')}`,
  );
}

/** What is wrong, and what to do. */
function halves(reason: string): { what: string; cure: string } {
  const at = reason.lastIndexOf('; ');
  return at < 0 ? { what: reason, cure: '' } : { what: reason.slice(0, at), cure: reason.slice(at + 2) };
}
