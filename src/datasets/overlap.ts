/** Which images of a data set show what others show: by their pixels, however they were stored. */

import { InputError } from '../errors.ts';
import { type Fingerprint, FingerprintIndex, fingerprint } from '../images/fingerprint.ts';
import { type Image8, isGrey } from '../images/image.ts';
import { type Dataset, subset } from './dataset.ts';
import { inParallel } from './loader.ts';

/** Images that others are looked for among. */
export interface OverlapSource {
  /** Whether they carry the mark, or are what marked images were made from. */
  readonly kind: 'marked' | 'original';
  readonly dataset: Dataset;
  /** Which of the data set's; default all of them. */
  readonly indices?: readonly number[] | undefined;
}

/** An image with another that shows the same. */
export interface OverlapPair {
  readonly id: string;
  /** Of the other, in its data set. */
  readonly of: string;
  readonly kind: OverlapSource['kind'];
}

/** What {@link findOverlap} found. */
export interface Overlap {
  /** Images that were looked for, */
  readonly images: number;
  /** and that they were looked for among. */
  readonly compared: { readonly marked: number; readonly originals: number };
  /** How many of the first have the very pixels of a marked image. */
  readonly copies: number;
  /** How many show the same picture as a marked image or an original, copies among them. */
  readonly alike: number;
  /** The first of them. */
  readonly examples: readonly OverlapPair[];
}

/** Larger shares of images that show what others show are no chance: natural data sets have smaller ones, see docs/evidence.md. */
export const MOST_ALIKE = 0.05;
/** Pairs that are named. */
const EXAMPLES = 5;

/**
 * Looks for images among others: re-encoded, resized, mirrored, turned by quarters, with changed contrast or a little noise, cropped by
 * a few pixels. docs/evidence.md tells which changes are found how often. Images that cannot be decoded are left out.
 */
export async function findOverlap(
  all: Dataset,
  sources: readonly OverlapSource[],
  options: {
    /** Look for so many of the images at most, evenly spread; default all. */
    readonly most?: number | undefined;
    readonly onProgress?: ((done: number, total: number) => void) | undefined;
    readonly signal?: AbortSignal | undefined;
  } = {},
): Promise<Overlap> {
  const { most = all.length } = options;
  const images =
    most >= all.length
      ? all
      : subset(
          all,
          Array.from({ length: most }, (_, i) => Math.floor((i * all.length) / most)),
        );
  const places = sources.flatMap(({ kind, dataset, indices }) =>
    (indices ?? Array.from({ length: dataset.length }, (_, index) => index)).map((index) => ({ kind, dataset, index })),
  );
  const total = places.length + images.length;
  let done = 0;
  const follow = (): void => {
    options.signal?.throwIfAborted();
    options.onProgress?.(++done, total);
  };
  const read: (Fingerprint | undefined)[] = new Array(places.length);
  await inParallel(places.length, async (i) => {
    const image = await readable(places[i].dataset, places[i].index);
    if (image) read[i] = fingerprint(image);
    follow();
  });
  const usable = places.flatMap((place, i) => (read[i] ? [{ ...place, print: read[i] }] : []));
  const index = new FingerprintIndex(usable.map(({ print }) => print));
  const found: (OverlapPair & { readonly row: number; readonly copy: boolean })[] = [];
  await inParallel(images.length, async (row) => {
    const image = await readable(images, row);
    const match = image && index.nearest(fingerprint(image));
    follow();
    if (!image || !match?.same) return;
    const other = usable[match.index];
    const copy = other.kind === 'marked' && samePixels(image, await other.dataset.image(other.index));
    found.push({ row, id: images.id(row), of: other.dataset.id(other.index), kind: other.kind, copy });
  });
  found.sort((a, b) => Number(b.copy) - Number(a.copy) || a.row - b.row);
  const count = (kind: OverlapSource['kind']): number => usable.filter((each) => each.kind === kind).length;
  return {
    images: images.length,
    compared: { marked: count('marked'), originals: count('original') },
    copies: found.filter(({ copy }) => copy).length,
    alike: found.length,
    examples: found.slice(0, EXAMPLES).map(({ id, of, kind }) => ({ id, of, kind })),
  };
}

/** What is wrong with an overlap, in a few words; undefined where chance explains it. */
export function overlapFault({ images, copies, alike, examples }: Overlap): string | undefined {
  if (copies === 0 && alike <= MOST_ALIKE * images) return undefined;
  const [first] = examples;
  const named = first
    ? `; ${first.id} is ${first.kind === 'marked' ? 'the marked' : 'what was marked as'} ${first.of}`
    : '';
  return copies > 0
    ? `${copies} of ${images} images are copies of marked images, ${alike} show the same as marked images or their originals${named}`
    : `${alike} of ${images} images show the same as marked images or their originals, more than chance gives${named}`;
}

/** An overlap in a few words, where nothing is wrong with it. */
export const describeOverlap = ({ images, compared, alike }: Overlap): string =>
  `${images} images compared with ${compared.marked} marked ones and ${compared.originals} originals, as they look and not by their files: ${alike === 0 ? 'none shows' : `${alike} (${((100 * alike) / images).toFixed(1)} %) show`} the same, at most ${100 * MOST_ALIKE} % are alike by chance`;

async function readable(dataset: Dataset, index: number): Promise<Image8 | undefined> {
  try {
    return await dataset.image(index);
  } catch (error) {
    if (error instanceof InputError) return undefined;
    throw error;
  }
}

/** Whether two images have the same pixels, grey ones in one channel or in three. */
function samePixels(a: Image8, b: Image8): boolean {
  if (a.width !== b.width || a.height !== b.height) return false;
  const [x, y] = [a, b].map((image) => (isGrey(image) ? 1 : 3));
  if (x !== y) return false;
  const pixels = a.width * a.height;
  for (let p = 0; p < pixels; p++)
    for (let c = 0; c < x; c++) if (a.data[p * a.channels + c] !== b.data[p * b.channels + c]) return false;
  return true;
}
