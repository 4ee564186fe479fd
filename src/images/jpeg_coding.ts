import type { JpegEncoding } from './codec.ts';
import type { Orientation } from './image.ts';

/** How an image is coded as a JPEG file, as far as its pixels depend on it. */
export interface JpegCoding {
  /** Divisors of the coefficients of brightness, 64 from 1 to 65535, row by row. */
  readonly luminance: ArrayLike<number>;
  /** Those of colour. */
  readonly chrominance: ArrayLike<number>;
  /** Columns and rows of pixels to a sample of colour, each 1 or 2: 2 and 2 is 4:2:0, 2 and 1 is 4:2:2, 1 and 2 is 4:4:0. */
  readonly sampling: readonly [columns: number, rows: number];
  /** How the stored picture has to be turned to be the image. */
  readonly orientation: Orientation;
}

/** Quantisation tables for luminance and chrominance (T.81, tables K.1 and K.2), row by row. */
const LUMINANCE = [
  16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
  87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
  72, 92, 95, 98, 112, 100, 103, 99,
];
const CHROMINANCE = [
  17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99,
  99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
  99, 99, 99, 99, 99, 99,
];

/** The tables of T.81, Annex K, scaled to a quality from 1 to 100 as libjpeg does it (`jpeg_set_quality`). */
export function annexKTables(quality: number): Pick<JpegCoding, 'luminance' | 'chrominance'> {
  const scale = quality < 50 ? Math.floor(5000 / quality) : 200 - 2 * quality;
  const scaled = (table: readonly number[]): number[] =>
    table.map((step) => Math.min(255, Math.max(1, Math.floor((step * scale + 50) / 100))));
  return { luminance: scaled(LUMINANCE), chrominance: scaled(CHROMINANCE) };
}

/** How a file of an encoding is coded, whose picture is stored turned. */
export function jpegCoding(
  { quality, halfColours }: Pick<JpegEncoding, 'quality' | 'halfColours'>,
  orientation: Orientation = 1,
): JpegCoding {
  return { ...annexKTables(quality), sampling: halfColours ? [2, 2] : [1, 1], orientation };
}
