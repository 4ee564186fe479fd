import * as v from 'valibot';
import { type Selection, selectFirst } from '../datasets/select.ts';
import { InputError } from '../errors.ts';
import { hex32 } from '../formats/fields.ts';
import { type Key, keySource } from './key.ts';
import { keyOrder } from './key_stream.ts';

/** Marked images are drawn from so many times as many hard ones: nobody who can rank images by hardness knows which they are. */
const HARD_POOL = 3;

/** What {@link chooseForMarking} chooses from. */
export interface ChoiceOptions {
  readonly key: Key;
  /** Class of each image, as its position in the key. */
  readonly labels: ArrayLike<number>;
  /** Share of each class, from 0 to 1. */
  readonly fraction: number;
  /** `hashDataset` of the images: what is chosen of one data set tells nothing of another's. */
  readonly dataSha256: string;
  /** How hard each image is, larger is harder, less than 0 where it cannot be read; absent: all are alike. */
  readonly hardness?: ArrayLike<number> | undefined;
}

/**
 * Which images of a data set a key marks: of each class `fraction` times its size rounded to nearest (a half up), and at least one of
 * a class that has any, at random by the secret. With `hardness` they are drawn from the hardest images of the class, three times as
 * many as are marked; of equally hard ones the first, and none that cannot be read where there are others. Nobody who lacks the
 * secret can tell which they are.
 *
 * docs/key-derivation.md is the specification, with a test vector. What a smaller share chooses, a larger one need not.
 *
 * @throws InputError if a label is none of the key's classes, the fraction is no share, the hardness does not fit or is NaN, the hash is
 * none, or the key waits for its beacon
 */
export async function chooseForMarking(options: ChoiceOptions): Promise<Selection> {
  const { key, labels, fraction, dataSha256, hardness } = options;
  if (!(fraction >= 0 && fraction <= 1))
    throw new InputError(`choice: fraction ${fraction} is not from 0 to 1; give a share such as 0.1`);
  if (hardness && hardness.length !== labels.length)
    throw new InputError(`choice: there are ${labels.length} images and ${hardness.length} values of hardness`);
  for (let i = 0; hardness && i < hardness.length; i++)
    if (Number.isNaN(hardness[i])) throw new InputError(`choice: the hardness of image ${i} is NaN`);
  if (!v.is(hex32, dataSha256))
    throw new InputError('choice: dataSha256 is no SHA-256 of 64 lower-case hex digits; take what hashDataset gives');
  const source = await keySource(key);
  const sizes = new Array<number>(key.classes.length).fill(0);
  for (let i = 0; i < labels.length; i++) {
    if (!(labels[i] in sizes))
      throw new InputError(`choice: image ${i} has label ${labels[i]}, the key has ${sizes.length} classes`);
    sizes[labels[i]] += 1;
  }
  const counts = sizes.map((size) => (fraction === 0 ? 0 : Math.min(size, Math.max(1, Math.round(fraction * size)))));
  const pools = hardness
    ? soundSizes(labels, hardness, sizes.length).map((sound, c) =>
        Math.max(counts[c], Math.min(sound, HARD_POOL * counts[c])),
      )
    : sizes;
  const orders = await Promise.all(pools.map((size, c) => keyOrder(source, `selection/${dataSha256}/${c}`, size)));
  return selectFirst(
    labels,
    key.classes.length,
    (_, c) => counts[c],
    (members, c) => {
      if (hardness) members.sort((a, b) => hardness[b] - hardness[a] || a - b);
      const pool = members.slice(0, pools[c]);
      orders[c].forEach((place, i) => {
        members[i] = pool[place];
      });
    },
  );
}

/** How many images of each class can be read. */
function soundSizes(labels: ArrayLike<number>, hardness: ArrayLike<number>, classCount: number): number[] {
  const sizes = new Array<number>(classCount).fill(0);
  for (let i = 0; i < labels.length; i++) if (hardness[i] >= 0) sizes[labels[i]] += 1;
  return sizes;
}
