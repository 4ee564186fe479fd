/**
 * Whether two images show the same picture: a fingerprint of low spatial frequencies finds the few that may, and laying one over the
 * other tells. It does not ask how files are stored, what their size is, or whether one is mirrored.
 */

import type { Image8 } from './image.ts';

/** Cosines along each axis that a fingerprint keeps. */
const F = 16;
/** Cosines along each axis that the search compares: the lowest, which a crop by a pixel changes least. */
const SEARCHED = 6;
/** Pixels along each axis of the pictures that are laid over each other. */
const GRID = 32;
/** Pixels at the border that are not compared: a crop has others there. */
const BORDER = 3;
/** The nearest that are laid over an image. */
const CANDIDATES = 10;
/** Passes of least squares that lay a picture over another; they end earlier where nothing moves any more. */
const PASSES = 8;
/** Beyond this shift, in pixels of the grid, or this change of size, two pictures are not the same but for a crop. */
const MOST_SHIFT = 4;
const MOST_SCALE = 0.25;

/** At and below this residual two pictures are the same, whatever others there are. */
export const SAME_PICTURE = 0.1;
/** A residual that no further candidate needs to be compared with. */
const SURELY = SAME_PICTURE / 4;
/** At and below this one they are if no other picture comes near it: */
export const LIKELY_PICTURE = 0.35;
/** the residual of the next one is larger by the inverse of this. */
export const LIKELY_RATIO = 0.6;

/**
 * The lowest cosine coefficients [16,16] of an image's brightness, in levels: nearly the same at every size. An image is described by
 * 1 KiB, whatever it shows.
 */
export type Fingerprint = Float32Array;

const bases = new Map<number, Float64Array>();

/** Cosines [F,n] of n points, orthonormal up to n; of frequencies that n points do not have, zeros. */
function cosines(n: number): Float64Array {
  const known = bases.get(n);
  if (known) return known;
  const table = new Float64Array(F * n);
  for (let k = 0; k < Math.min(F, n); k++)
    for (let x = 0; x < n; x++) table[k * n + x] = (k ? Math.SQRT2 : 1) * Math.cos((Math.PI * k * (x + 0.5)) / n);
  // Data sets of photographs have many sizes.
  if (bases.size > 1000) bases.clear();
  bases.set(n, table);
  return table;
}

/** The fingerprint of an image. Colours count by their brightness (ITU-R BT.601). */
export function fingerprint({ width, height, channels, data }: Image8): Fingerprint {
  const [across, down] = [cosines(width), cosines(height)];
  const grey = new Float64Array(width);
  const coefficients = new Float64Array(F * F);
  const row = new Float64Array(F);
  for (let y = 0; y < height; y++) {
    for (let x = 0, at = y * width * channels; x < width; x++, at += channels)
      // Of a grey image stored in colours exactly its level.
      grey[x] =
        channels === 1
          ? data[at]
          : data[at + 1] + 0.299 * (data[at] - data[at + 1]) + 0.114 * (data[at + 2] - data[at + 1]);
    for (let k = 0; k < F; k++) {
      let sum = 0;
      for (let x = 0; x < width; x++) sum += grey[x] * across[k * width + x];
      row[k] = sum / (width * height);
    }
    for (let j = 0; j < F; j++) {
      const weight = down[j * height + y];
      for (let k = 0; k < F; k++) coefficients[j * F + k] += weight * row[k];
    }
  }
  return Float32Array.from(coefficients);
}

/** How an image can be turned and mirrored: the eight symmetries of a square, the image itself first. */
export const SYMMETRIES = 8;

/** The fingerprint of the turned or mirrored image: mirrored across for bit 0, down for bit 1, rows and columns exchanged for bit 2. */
export function turned(print: Fingerprint, symmetry: number): Fingerprint {
  const found = new Float32Array(F * F);
  for (let j = 0; j < F; j++)
    for (let k = 0; k < F; k++) {
      const sign = (symmetry & 1 && k % 2 ? -1 : 1) * (symmetry & 2 && j % 2 ? -1 : 1);
      found[symmetry & 4 ? k * F + j : j * F + k] = sign * print[j * F + k];
    }
  return found;
}

/** Which coefficients the search compares, the lowest frequencies first: these decide most distances. */
const ORDER = Array.from({ length: SEARCHED ** 2 }, (_, i) => [Math.floor(i / SEARCHED), i % SEARCHED] as const)
  .slice(1)
  .sort(([a, b], [c, d]) => a * a + b * b - c * c - d * d)
  .map(([j, k]) => j * F + k);

/** Below this length, in levels, an image is taken for one of a single brightness, which shows nothing. */
const FLAT = 0.5;

/** What the search compares: without brightness, and of length 1, so that contrast does not count either. Null of a flat image. */
function direction(print: Fingerprint): Float32Array | null {
  const found = Float32Array.from(ORDER, (at) => print[at]);
  const length = Math.hypot(...found);
  return length < FLAT ? null : found.map((x) => x / length);
}

/** The picture [GRID,GRID] that a fingerprint holds. */
function picture(print: Fingerprint): Float64Array {
  const table = cosines(GRID);
  const rows = new Float64Array(F * GRID);
  for (let j = 0; j < F; j++)
    for (let k = 0; k < F; k++) {
      const weight = print[j * F + k];
      for (let x = 0; x < GRID; x++) rows[j * GRID + x] += weight * table[k * GRID + x];
    }
  const found = new Float64Array(GRID * GRID);
  for (let j = 0; j < F; j++)
    for (let y = 0; y < GRID; y++) {
      const weight = table[j * GRID + y];
      for (let x = 0; x < GRID; x++) found[y * GRID + x] += weight * rows[j * GRID + x];
    }
  return found;
}

/** Shift and scale along both axes, about the centre. */
type Placing = readonly [x: number, y: number, width: number, height: number];

/**
 * How much of one picture another does not show: the sine of the angle between their edges (differences of neighbours), once it is
 * shifted, resized and its contrast changed to fit best. 0 for the same picture, about 1 for pictures that have nothing in common.
 */
export function pictureResidual(a: Fingerprint, b: Fingerprint): number {
  return residual(picture(a), picture(b), 0);
}

/** The same of pictures; passes end where the residual is at most `enough`. */
function residual(target: Float64Array, moved: Float64Array, enough: number): number {
  let placing: Placing = [0, 0, 1, 1];
  const placed = new Float64Array(GRID * GRID);
  place(moved, placing, placed);
  let best = edgeSine(target, placed);
  for (let pass = 0; pass < PASSES && best > enough; pass++) {
    const step = fittingStep(target, placed);
    if (!step) break;
    placing = placing.map((x, i) => x + step[i]) as unknown as Placing;
    const [x, y, width, height] = placing;
    if (!(Math.max(Math.abs(x), Math.abs(y)) <= MOST_SHIFT)) break;
    if (!(Math.max(Math.abs(width - 1), Math.abs(height - 1)) <= MOST_SCALE)) break;
    place(moved, placing, placed);
    best = Math.min(best, edgeSine(target, placed));
    if (Math.max(...step.map(Math.abs)) < 1e-3) break;
  }
  return best;
}

const CENTRE = (GRID - 1) / 2;

/** A picture moved, into `out`: bilinear, the border repeated. */
function place(from: Float64Array, [dx, dy, width, height]: Placing, out: Float64Array): void {
  const clamp = (x: number): number => Math.min(GRID - 1.001, Math.max(0, x));
  for (let y = 0; y < GRID; y++) {
    const v = clamp((y - CENTRE) * height + CENTRE + dy);
    const top = Math.floor(v);
    for (let x = 0; x < GRID; x++) {
      const u = clamp((x - CENTRE) * width + CENTRE + dx);
      const left = Math.floor(u);
      const at = top * GRID + left;
      const upper = from[at] + (u - left) * (from[at + 1] - from[at]);
      const lower = from[at + GRID] + (u - left) * (from[at + GRID + 1] - from[at + GRID]);
      out[y * GRID + x] = upper + (v - top) * (lower - upper);
    }
  }
}

function edgeSine(a: Float64Array, b: Float64Array): number {
  let [aa, bb, ab] = [0, 0, 0];
  for (let y = BORDER; y < GRID - BORDER; y++)
    for (let x = BORDER; x < GRID - BORDER; x++) {
      const at = y * GRID + x;
      const [ax, bx] = [a[at + 1] - a[at], b[at + 1] - b[at]];
      const [ay, by] = [a[at + GRID] - a[at], b[at + GRID] - b[at]];
      aa += ax * ax + ay * ay;
      bb += bx * bx + by * by;
      ab += ax * bx + ay * by;
    }
  if (!(aa > 0 && bb > 0) || ab <= 0) return 1;
  return Math.sqrt(Math.max(0, 1 - (ab * ab) / (aa * bb)));
}

const UNKNOWNS = 6;

/**
 * One step of Lucas and Kanade: how far to move `placed` so that it fits `target` best, with a contrast and a brightness of its own.
 * Undefined where that cannot be told.
 */
function fittingStep(target: Float64Array, placed: Float64Array): number[] | undefined {
  const A = new Float64Array(UNKNOWNS * UNKNOWNS);
  const b = new Float64Array(UNKNOWNS);
  const row = new Float64Array(UNKNOWNS);
  for (let y = BORDER; y < GRID - BORDER; y++)
    for (let x = BORDER; x < GRID - BORDER; x++) {
      const at = y * GRID + x;
      const gx = (placed[at + 1] - placed[at - 1]) / 2;
      const gy = (placed[at + GRID] - placed[at - GRID]) / 2;
      row[0] = gx;
      row[1] = gy;
      // Scales count in eighths, so that all columns are of one size.
      row[2] = (gx * (x - CENTRE)) / 8;
      row[3] = (gy * (y - CENTRE)) / 8;
      row[4] = placed[at];
      row[5] = 1;
      for (let i = 0; i < UNKNOWNS; i++) {
        for (let j = i; j < UNKNOWNS; j++) A[i * UNKNOWNS + j] += row[i] * row[j];
        b[i] += row[i] * target[at];
      }
    }
  const solved = solveSymmetric(A, b);
  if (!solved) return undefined;
  const contrast = solved[4];
  if (!(contrast > 0)) return undefined;
  return [solved[0] / contrast, solved[1] / contrast, solved[2] / contrast / 8, solved[3] / contrast / 8];
}

/** Solves A x = b by Cholesky's decomposition, from the upper half of A; undefined where A is not positive definite. */
function solveSymmetric(A: Float64Array, b: Float64Array): Float64Array | undefined {
  const n = b.length;
  const L = new Float64Array(n * n);
  for (let i = 0; i < n; i++)
    for (let j = 0; j <= i; j++) {
      let sum = A[j * n + i] * (i === j ? 1 + 1e-6 : 1);
      for (let k = 0; k < j; k++) sum -= L[i * n + k] * L[j * n + k];
      if (i !== j) L[i * n + j] = sum / L[j * n + j];
      else if (sum > 0) L[i * n + i] = Math.sqrt(sum);
      else return undefined;
    }
  const x = b.slice();
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < i; k++) x[i] -= L[i * n + k] * x[k];
    x[i] /= L[i * n + i];
  }
  for (let i = n - 1; i >= 0; i--) {
    for (let k = i + 1; k < n; k++) x[i] -= L[k * n + i] * x[k];
    x[i] /= L[i * n + i];
  }
  return x;
}

/** A picture that an image was found to show too. */
export interface PictureMatch {
  /** Of the fingerprint in the index. */
  readonly index: number;
  /** See {@link pictureResidual}. */
  readonly residual: number;
  /** Whether the two are taken for one picture: see {@link SAME_PICTURE} and {@link LIKELY_PICTURE}. */
  readonly same: boolean;
}

/** Fingerprints that others are looked for among. */
export class FingerprintIndex {
  readonly #prints: readonly Fingerprint[];
  /** [n, 35] of those that are not flat, by their first coefficient. */
  readonly #directions: Float32Array;
  /** [n] which fingerprint each of them is of. */
  readonly #rows: Uint32Array;
  /** [n] the first coefficients alone. */
  readonly #first: Float32Array;

  constructor(prints: readonly Fingerprint[]) {
    this.#prints = prints;
    const found = prints
      .flatMap((print, index) => {
        const own = direction(print);
        return own ? [{ own, index }] : [];
      })
      .sort((a, b) => a.own[0] - b.own[0]);
    this.#rows = Uint32Array.from(found, ({ index }) => index);
    this.#first = Float32Array.from(found, ({ own }) => own[0]);
    this.#directions = new Float32Array(found.length * ORDER.length);
    for (const [row, { own }] of found.entries()) this.#directions.set(own, row * ORDER.length);
  }

  /**
   * The picture among them that comes nearest, also turned by 90, 180 or 270 degrees and mirrored. Undefined for a flat image, or where
   * there is none to compare with.
   */
  nearest(print: Fingerprint): PictureMatch | undefined {
    const pictures: (Float64Array | undefined)[] = new Array(SYMMETRIES);
    const found: { index: number; residual: number }[] = [];
    for (const { row, symmetry } of this.#candidates(print)) {
      pictures[symmetry] ??= picture(turned(print, symmetry));
      const index = this.#rows[row];
      const own = residual(pictures[symmetry], picture(this.#prints[index]), SURELY);
      const before = found.find((each) => each.index === index);
      if (before) before.residual = Math.min(before.residual, own);
      else found.push({ index, residual: own });
      if (own <= SURELY) break;
    }
    found.sort((a, b) => a.residual - b.residual);
    const [best] = found;
    if (!best) return undefined;
    return { ...best, same: best.residual <= SAME_PICTURE || this.#standsOut(found) };
  }

  /** Whether the best of some candidates is much nearer than the next one, copies of the best itself left out. */
  #standsOut([best, ...others]: readonly { readonly index: number; readonly residual: number }[]): boolean {
    if (best.residual > LIKELY_PICTURE) return false;
    const [own, ...rest] = [best, ...others].map(({ index }) => this.#prints[index]);
    const next = others[rest.findIndex((print) => pictureResidual(own, print) > SAME_PICTURE)];
    return next !== undefined && best.residual <= LIKELY_RATIO * next.residual;
  }

  /** The rows at the smallest distances from the image in any of its positions, nearest first. Exact: what is left out is further away. */
  #candidates(print: Fingerprint): { row: number; symmetry: number; distance: number }[] {
    const best: { row: number; symmetry: number; distance: number }[] = [];
    const size = ORDER.length;
    const [directions, first] = [this.#directions, this.#first];
    let limit = Number.POSITIVE_INFINITY;
    for (let symmetry = 0; symmetry < SYMMETRIES; symmetry++) {
      const own = direction(turned(print, symmetry));
      if (!own) return [];
      // Outwards from where the first coefficients agree: their difference alone is a bound.
      let up = lowerBound(first, own[0]);
      let down = up - 1;
      for (;;) {
        const gapUp = up < first.length ? first[up] - own[0] : Number.POSITIVE_INFINITY;
        const gapDown = down >= 0 ? own[0] - first[down] : Number.POSITIVE_INFINITY;
        const gap = Math.min(gapUp, gapDown);
        if (!(gap * gap < limit)) break;
        const row = gapUp <= gapDown ? up++ : down--;
        let distance = 0;
        for (let i = 0, at = row * size; i < size && distance < limit; i++, at++)
          distance += (own[i] - directions[at]) ** 2;
        if (!(distance < limit)) continue;
        const place = best.findIndex((each) => each.distance > distance);
        best.splice(place < 0 ? best.length : place, 0, { row, symmetry, distance });
        if (best.length > CANDIDATES) best.pop();
        if (best.length === CANDIDATES) limit = best[CANDIDATES - 1].distance;
      }
    }
    return best;
  }
}

/** Where a value belongs in an array that is sorted. */
function lowerBound(sorted: Float32Array, value: number): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
