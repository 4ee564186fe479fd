import { hashAside, hashParts, hashStream } from '../formats/sha256.ts';
import type { Dataset } from './dataset.ts';
import { inOrder } from './loader.ts';

/**
 * SHA-256 of a data set's listing as 64 hex digits: one line `["id","class","SHA-256 of the stored bytes"]` per item, in
 * order. Equal for equal items in equal order, wherever they are and however an IDX file is compressed. Items with a fault
 * that cannot be read have null in place of the last.
 *
 * @throws InputError if another item cannot be read.
 */
export async function hashDataset(dataset: Dataset): Promise<string> {
  const encoder = new TextEncoder();
  const lines = inOrder(dataset.length, async (i) => {
    const sha256 = await dataset.bytes(i).then(hashAside, (error: unknown) => {
      if (dataset.faults?.has(i)) return null;
      throw error;
    });
    return encoder.encode(lineOf({ id: dataset.id(i), class: dataset.classes[dataset.labels[i]], sha256 }));
  });
  return hashStream(lines);
}

/** The same of a listing that is at hand. */
export function hashListing(
  items: readonly { readonly id: string; readonly class: string; readonly sha256: string | null }[],
): string {
  return hashParts(listing(items));
}

type Listed = Parameters<typeof hashListing>[0][number];

function* listing(items: readonly Listed[]): Iterable<Uint8Array> {
  const encoder = new TextEncoder();
  for (const item of items) yield encoder.encode(lineOf(item));
}

const lineOf = (item: Listed): string => `${JSON.stringify([item.id, item.class, item.sha256])}\n`;
