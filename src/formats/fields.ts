/** Fields that several documents have. Messages are their own: valibot's quote what they received. */

import * as v from 'valibot';

/** 32 bytes, such as a SHA-256. */
export const hex32 = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/, 'expected 64 lower-case hex digits'));

/** 0, 1, 2, … */
export const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

/** 1, 2, … */
export const positiveCount = v.pipe(count, v.minValue(1));

/** A number that is finite. */
export const finite = v.pipe(v.number(), v.finite());

export const positive = v.pipe(finite, v.gtValue(0, 'expected more than 0'));

export const notNegative = v.pipe(finite, v.minValue(0));

/** JSON has no infinity: see `jsonDocument`. */
export const real = v.union([v.number(), v.picklist(['-Infinity', 'Infinity', 'NaN'])]);

/** Any text but an empty one. */
export const text = v.pipe(v.string(), v.nonEmpty());

/** A name of a class, a file or a network: whatever is no control character. */
export const name = v.pipe(
  v.string(),
  v.regex(/^[^\p{Cc}\p{Cs}]+$/u, 'expected a name that is not empty and has no control characters'),
);

export const time = v.pipe(v.string(), v.isoTimestamp());

/** A list that nobody changes. */
export const list = <T extends v.GenericSchema>(entry: T) => v.pipe(v.array(entry), v.readonly());

/** Two numbers, the smaller first. */
const range = v.pipe(
  v.strictTuple([notNegative, positive], 'expected two numbers'),
  v.check(([from, to]) => from <= to, 'expected the smaller number first'),
  v.readonly(),
);

/** `RandomCropOptions`: shares of the area, ratios of width and height, whether half of them are mirrored. */
export const randomCrop = v.strictObject(
  { scale: range, ratio: range, flip: v.boolean() },
  'expected an object or null',
);

/** `PadCropOptions`: black pixels on each side, whether half of them are mirrored. */
const padCrop = v.strictObject({ padding: positiveCount, flip: v.boolean() });

/** The crops of training images: `RandomCropOptions`, or `PadCropOptions` where there is a padding. */
export const trainingCrop = v.lazy((input): typeof randomCrop | typeof padCrop =>
  typeof input === 'object' && input !== null && 'padding' in input ? padCrop : randomCrop,
);

/** The same fields, of which each may be left out. */
export const optionalFields = <E extends v.ObjectEntries>(entries: E) =>
  Object.fromEntries(Object.entries(entries).map(([field, schema]) => [field, v.exactOptional(schema)])) as {
    [Field in keyof E]: v.ExactOptionalSchema<E[Field], undefined>;
  };
