import * as v from 'valibot';
import { checkDocument, type DocumentKind, readDocument } from '../formats/document.ts';
import { count, finite, hex32, text } from '../formats/fields.ts';
import { DATASET_FORMAT_NAMES } from './format.ts';

/** Ids are used as paths inside the data set: none may lead out of it. */
const id = v.pipe(
  text,
  v.check(
    (path) =>
      // A backslash may be part of a name, or part two names: neither way may the path lead out.
      !/\p{Cc}/u.test(path) && path.split(/[\\/]/).every((part) => part !== '' && part !== '.' && part !== '..'),
    'expected a path inside the data set, like cat/001.png',
  ),
);

const record = v.record(text, v.union([finite, v.string(), v.boolean()]));

const image = v.strictObject({
  /** Of the item in the marked data set, see `Dataset.id`. */
  id,
  /** Of the item in the unmarked data set, where that differs: where all became PNG files. */
  source: v.optional(id),
  class: text,
  /** dB between the original and the saved image; null where they are equal. */
  psnr: v.nullable(finite),
  /** Structural similarity of the original and the saved image, see `ssim`. */
  ssim: v.optional(finite),
  /** Largest change of any channel of any pixel of the saved file, in 8-bit levels. */
  maxChangeLevels: v.pipe(count, v.maxValue(255, 'expected 255 or less')),
  /** The same before the image was encoded, where that is lossy: within the radius, which the file need not be. */
  changeBeforeEncoding: v.optional(v.pipe(count, v.maxValue(255, 'expected 255 or less'))),
  /** Change of the marking network's features along the class's carrier. */
  gain: finite,
  /** Of what is stored for the item, see `Dataset.bytes`. */
  sha256: hex32,
});

/** A marked image as it was saved and measured. */
export const SavedMarkSchema = v.omit(image, ['source', 'class']);
export type SavedMark = v.InferOutput<typeof SavedMarkSchema>;

/** Largest change of an image by its mark alone, in 8-bit levels: before it was encoded, where that changes it further. */
export const changeOf = ({ maxChangeLevels, changeBeforeEncoding }: SavedMark): number =>
  changeBeforeEncoding ?? maxChangeLevels;

/** The id is that of the unmarked data set and may have any characters a file system allows. */
const skipped = v.strictObject({ id: text, reason: text });

const manifest = v.pipe(
  v.strictObject({
    format: v.literal('radioactive-manifest'),
    version: v.literal(2),
    source: v.strictObject({
      path: v.optional(v.string()),
      layout: v.picklist(DATASET_FORMAT_NAMES),
      /** Items in the data set, marked or not. */
      count,
      /** Of the listing of the unmarked data set, see `hashDataset`. */
      sha256: hex32,
    }),
    /** The hash by which the key was committed to. */
    keyCommitment: hex32,
    /** What the marks were made with: radiusLevels, iterations, lr, lambdaFeatures, lambdaImage, seed, fraction and others. */
    options: record,
    classes: v.pipe(v.array(text), v.minLength(1, 'expected at least one class')),
    /** Figures over all marked images. */
    summary: record,
    /** Files that looked like images and could not be marked, in the order of the data set: why, and what to do. */
    skipped: v.optional(v.array(skipped)),
    /** Classes of which no image is marked: they add nothing but noise to a test. Absent where there are none. */
    unmarkedClasses: v.optional(v.array(text)),
    /** Of the images below, see `merkleRoot`. */
    merkleRoot: hex32,
    /** The marked images, in the order of the data set. */
    images: v.array(image),
  }),
  v.rawCheck(({ dataset, addIssue }) => {
    if (!dataset.typed) return;
    const { classes, images, source } = dataset.value;
    const known = new Set(classes);
    if (known.size < classes.length) addIssue({ message: 'classes: expected every class once' });
    if (images.length > source.count) addIssue({ message: `images: expected at most source.count, ${source.count}` });
    const seen = new Set<string>();
    images.forEach((entry, i) => {
      if (!known.has(entry.class)) addIssue({ message: `images[${i}].class: expected one of classes` });
      if (seen.has(entry.id)) addIssue({ message: `images[${i}].id: is there twice` });
      seen.add(entry.id);
    });
  }),
);

/**
 * `manifest.json` of a marked data set: which images were marked, how, and for which key. It gives the marked images away, and is not
 * for publishing.
 */
export interface Manifest extends v.InferOutput<typeof manifest> {}
/** What a manifest says of one marked image. */
export interface ManifestImage extends v.InferOutput<typeof image> {}
/** An image that could not be marked, and why. */
export interface SkippedImage extends v.InferOutput<typeof skipped> {}

/** Whether a manifest can name an item by an id. */
export const isManifestId = (value: string): boolean => v.is(id, value);

export const MANIFEST_NAME = 'manifest.json';

/** Images in a piece of a manifest's text. */
const PIECE = 1000;

const MANIFEST = {
  name: 'manifest',
  cure: 'restore or remake it',
  schema: manifest,
  header: { format: 'radioactive-manifest', versions: [2] },
} satisfies DocumentKind;

/**
 * Reads a manifest.
 *
 * @throws InputError naming the file and the place in it if it is not one.
 */
export function parseManifest(text: string, fileName: string): Manifest {
  return readDocument(MANIFEST, text, fileName);
}

/**
 * Writes a manifest: indented JSON, one line per image. The same manifest gives the same text.
 *
 * @throws InputError naming the place if a value is not allowed, such as a number that is not finite.
 */
export function serializeManifest(value: Manifest): string {
  return [...manifestText(value)].join('');
}

/** The same text in pieces. */
export function* manifestText(value: Manifest): Generator<string> {
  const { images, ...rest } = checkDocument(MANIFEST, value, MANIFEST_NAME);
  yield `${JSON.stringify(rest, null, 2).slice(0, -'\n}'.length)},\n  "images": [`;
  for (let start = 0; start < images.length; start += PIECE) {
    const lines = images.slice(start, start + PIECE).map((entry) => `\n    ${JSON.stringify(entry)}`);
    yield `${start === 0 ? '' : ','}${lines.join(',')}`;
  }
  yield `${images.length > 0 ? '\n  ' : ''}]\n}\n`;
}
