import { hashAside, hashParts } from '../formats/sha256.ts';
import type { Dataset } from './dataset.ts';
import { inParallel } from './loader.ts';

/**
 * SHA-256 of a data set's listing as 64 hex digits: one line `["id","class","SHA-256 of the stored bytes"]` per item, in
 * order. Equal for equal items in equal order, wherever they are and however an IDX file is compressed. Items with a fault
 * that cannot be read have null in place of the last.
 *
 * @throws InputError if another item cannot be read.
 */
export async function hashDataset(dataset: Dataset): Promise<string> {
  const hashes: (string | null)[] = new Array(dataset.length);
  await inParallel(dataset.length, async (i) => {
    hashes[i] = await dataset.bytes(i).then(hashAside, (error: unknown) => {
      if (dataset.faults?.has(i)) return null;
      throw error;
    });
  });
  return hashListing(
    hashes.map((sha256, i) => ({ id: dataset.id(i), class: dataset.classes[dataset.labels[i]], sha256 })),
  );
}

/** The same of a listing that is at hand. */
export function hashListing(
  items: readonly { readonly id: string; readonly class: string; readonly sha256: string | null }[],
): string {
  return hashParts(listing(items));
}

function* listing(items: Parameters<typeof hashListing>[0]): Iterable<Uint8Array> {
  const encoder = new TextEncoder();
  for (const item of items) yield encoder.encode(`${JSON.stringify([item.id, item.class, item.sha256])}\n`);
}
