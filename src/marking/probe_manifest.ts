/** What a folder of probes says of itself. */

import * as v from 'valibot';
import type { ProbeLayout } from '../detection/scores.ts';
import { InputError } from '../errors.ts';

const hex32 = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/, 'expected 64 lower-case hex digits'));
const count = v.pipe(v.number(), v.safeInteger('expected a whole number'), v.minValue(1, 'expected 1 or more'));
const name = v.pipe(v.string(), v.nonEmpty('expected a name, got an empty one'));
const real = v.pipe(v.number(), v.finite('expected a finite number'));
const matrix = v.array(v.array(real));

const ProbeManifestSchema = v.pipe(
  v.strictObject({
    format: v.literal('radioactive-probes'),
    version: v.literal(1),
    /** The held-out data set that the images are of, as in a key's `heldOut`. */
    source: v.strictObject({ layout: v.picklist(['folder', 'idx']), count, sha256: hex32 }),
    keyCommitment: hex32,
    /** What decides the images beside the key: decoys, perClass, the recipe, the marking network. */
    options: v.record(name, v.union([real, v.string()])),
    /** In the key's order. */
    classes: v.pipe(v.array(name), v.minLength(1, 'expected at least one class')),
    /** S = decoys + 1. */
    sets: v.pipe(count, v.minValue(2, 'expected 2 or more')),
    layout: v.picklist(['folder', 'idx']),
    /** The vanilla images, class by class: in the list each is followed by its S marked versions. */
    images: v.array(v.strictObject({ class: name, id: name })),
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
export type ProbeManifest = v.InferOutput<typeof ProbeManifestSchema>;

export const PROBES_NAME = 'probes.json';

/** Reads `probes.json`. Throws InputError naming the file and the place in it if it is not one. */
export function parseProbeManifest(text: string, fileName: string): ProbeManifest {
  const advice = 'give a folder that radioactive probes wrote';
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new InputError(`${fileName}: not valid JSON; ${advice}`);
  }
  const parsed = v.safeParse(ProbeManifestSchema, value, { abortEarly: true });
  if (parsed.success) return parsed.output;
  const [issue] = parsed.issues;
  const place = v.getDotPath(issue);
  throw new InputError(`${fileName}: ${place === null ? '' : `${place}: `}${issue.message}; ${advice}`);
}

/** Which rows of the list are of which class and set. */
export function probeLayout({ classes, images, sets }: ProbeManifest): ProbeLayout {
  const indexOf = new Map(classes.map((className, c) => [className, c]));
  return { labels: Uint32Array.from(images, (image) => indexOf.get(image.class)!), classCount: classes.length, sets };
}
