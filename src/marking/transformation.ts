import * as v from 'valibot';

/** What may happen to a published image that its mark is to survive. */
export type Transformation =
  | {
      /** Saved again as a JPEG file with libjpeg's tables of a quality, 1 to 100, and colours of half the columns and rows. */
      readonly kind: 'jpeg';
      readonly quality: number;
    }
  | {
      /** Resized so that the shorter side has so many pixels, with antialias, unless it is shorter. */
      readonly kind: 'resize';
      readonly side: number;
    };

/** What transformations are written like. */
export const TRANSFORMATIONS = 'jpeg:QUALITY (1 to 100) or resize:SIDE (1 to 65535)';

/** Reads a transformation as recipes have it, like `jpeg:75` or `resize:224`; undefined if it is none. */
export function parseTransformation(text: string): Transformation | undefined {
  const [, kind, digits] = /^(jpeg|resize):([1-9]\d{0,4})$/.exec(text) ?? [];
  const value = Number(digits);
  if (kind === 'jpeg' && value <= 100) return { kind, quality: value };
  if (kind === 'resize' && value <= 65535) return { kind, side: value };
  return undefined;
}

/** A list of transformations, each once, as recipes have it. */
export const survivals = v.pipe(
  v.array(
    v.pipe(
      v.string(),
      v.check((text) => parseTransformation(text) !== undefined, `expected ${TRANSFORMATIONS}`),
    ),
  ),
  v.minLength(1, 'expected at least one transformation'),
  v.check((list) => new Set(list).size === list.length, 'expected each transformation once'),
);
