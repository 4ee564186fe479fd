/** What a folder of probes says of itself. */

import * as v from 'valibot';
import { type Dataset, subset } from '../datasets/dataset.ts';
import { DATASET_FORMAT_NAMES } from '../datasets/format.ts';
import { checkDocument, type DocumentKind, readDocument } from '../formats/document.ts';
import { finite, hex32, positiveCount, text } from '../formats/fields.ts';

const matrix = v.array(v.array(finite));

const ProbeManifestSchema = v.pipe(
  v.strictObject({
    format: v.literal('radioactive-probes'),
    version: v.literal(1),
    /** The held-out data set that the images are of, as in a key's `heldOut`. */
    source: v.strictObject({ layout: v.picklist(DATASET_FORMAT_NAMES), count: positiveCount, sha256: hex32 }),
    keyCommitment: hex32,
    /** What decides the images beside the key: decoys, perClass, the recipe, the marking network. */
    options: v.record(text, v.union([finite, v.string()])),
    /** In the key's order. */
    classes: v.pipe(v.array(text), v.minLength(1, 'expected at least one class')),
    /** S = decoys + 1. */
    sets: v.pipe(positiveCount, v.minValue(2)),
    layout: v.picklist(DATASET_FORMAT_NAMES),
    /** The vanilla images, class by class: in the list each is followed by its S marked versions. */
    images: v.array(v.strictObject({ class: text, id: text })),
    /** Of the listing of all images, see `hashDataset`. */
    sha256: hex32,
    /** Means over the images of a class [K][S], sets in the order of the list. */
    marks: v.strictObject({
      /** Root of the mean squared change of an image, in levels. */
      changeLevels: matrix,
      /** Change of the marking network's features along the carrier of the set. */
      gain: matrix,
    }),
  }),
  v.check(
    ({ classes, images }) => images.every((image) => classes.includes(image.class)),
    'images: expected classes of the list',
  ),
  v.check(
    ({ classes, sets, marks }) =>
      [marks.changeLevels, marks.gain].every(
        (rows) => rows.length === classes.length && rows.every((row) => row.length === sets),
      ),
    'marks: expected a number for every class and set',
  ),
);

/** `probes.json`: everything about a folder of probes that is not secret. It does not tell which set is the true one. */
export interface ProbeManifest extends v.InferOutput<typeof ProbeManifestSchema> {}

export const PROBES_NAME = 'probes.json';

const PROBES = {
  name: 'folder of probes',
  cure: 'give a folder that radioactive probes wrote',
  schema: ProbeManifestSchema,
  header: { format: 'radioactive-probes', versions: [1] },
} satisfies DocumentKind;

/** Reads `probes.json`. Throws InputError naming the file and the place in it if it is not one. */
export function parseProbeManifest(text: string, fileName: string): ProbeManifest {
  return readDocument(PROBES, text, fileName);
}

/** Writes `probes.json`. Throws InputError naming the place if a value is not allowed, such as a number that is not finite. */
export function serializeProbeManifest(value: ProbeManifest): string {
  return `${JSON.stringify(checkDocument(PROBES, value, PROBES_NAME), null, 1)}\n`;
}

/** How the rows of scores go together: each vanilla image is followed by its marked versions, in the order of the sets. */
export interface ProbeLayout {
  /** [B] class of each vanilla image */
  readonly labels: ArrayLike<number>;
  /** K */
  readonly classCount: number;
  /** S, marked versions of each: the true set and its decoys */
  readonly sets: number;
}

/** Which rows of the list are of which class and set. */
export function probeLayout({ classes, images, sets }: ProbeManifest): ProbeLayout {
  const indexOf = new Map(classes.map((className, c) => [className, c]));
  return { labels: Uint32Array.from(images, (image) => indexOf.get(image.class)!), classCount: classes.length, sets };
}

/** The images that probes were made from, which nobody marked, of the images in their list. */
export function vanillaImages({ sets, images }: ProbeManifest, all: Dataset): Dataset {
  return subset(
    all,
    images.map((_, b) => b * (sets + 1)),
  );
}
