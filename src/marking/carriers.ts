/**
 * From a key to its carriers: the same bits on every machine. docs/key-derivation.md is the specification,
 * with test vectors.
 */

import { InputError } from '../errors.ts';
import { multiplyTransposed, transpose } from '../maths/linalg.ts';
import { keyStream, type StreamSource } from './key_stream.ts';

/** ln 2 in two parts; the first has trailing zeros enough for its product with an exponent to be exact. */
const LN2_HIGH = 0.6931471803691238;
const LN2_LOW = 1.9082149292705877e-10;

/** What a draw is for: the mark itself, or one of the decoys it is compared with. */
export type CarrierPurpose = 'mark' | 'decoy';

/** What {@link deriveCarriers} draws. */
export interface CarrierDraw {
  /** K */
  classCount: number;
  /** k, of the space the carriers are uniform in */
  dimension: number;
  purpose: CarrierPurpose;
  /** Which decoy, from 0; there is but one mark, draw 0. */
  draw?: number;
}

/**
 * One direction per class, uniform on the unit sphere of a k-dimensional space: the marking network's feature space itself
 * (`basis` null, k = d), or the subspace that `basis` spans.
 */
export interface Carriers {
  /** K */
  classCount: number;
  /** k */
  dimension: number;
  /** d */
  featureDimension: number;
  /** [K,k] unit rows: what was drawn, and what a test takes cosines with */
  coordinates: Float64Array;
  /** [k,d] orthonormal rows, or null for the whole space */
  basis: Float64Array | null;
  /** [K,d] unit rows in feature space, coordinates · basis: what images are marked towards */
  directions: Float64Array;
}

/**
 * ln x of a positive normal float64 from IEEE basic operations alone (engines differ in the last bits of Math.log),
 * within 2 units in the last place: x = m 2^e with √½ < m ≤ √2, f = (m−1)/(m+1), ln x = e ln 2 + 2 artanh f.
 * The order of operations is part of the specification.
 */
export function portableLog(x: number): number {
  const bits = new DataView(new ArrayBuffer(8));
  bits.setFloat64(0, x);
  const high = bits.getUint32(0);
  let e = (high >>> 20) - 1023;
  bits.setUint32(0, (high & 0xfffff) | 0x3ff00000);
  let m = bits.getFloat64(0);
  if (m > Math.SQRT2) {
    m *= 0.5;
    e += 1;
  }
  const f = (m - 1) / (m + 1);
  const z = f * f;
  let series = 1 / 25;
  for (let k = 23; k >= 3; k -= 2) series = series * z + 1 / k;
  return e * LN2_HIGH + (2 * f + (2 * f * z * series + e * LN2_LOW));
}

/**
 * `count` standard normal numbers by Marsaglia's polar method (*Improving Phillips' algorithm for generating normal
 * deviates*, 1964), two per accepted pair of 53-bit uniforms, each from 8 bytes of the stream, big-endian.
 * @returns null if the stream is used up before
 */
export function polarGaussians(stream: Uint8Array, count: number): Float64Array | null {
  const view = new DataView(stream.buffer, stream.byteOffset, stream.byteLength);
  const uniform = (at: number) => (view.getUint32(at) * 2 ** 21 + (view.getUint32(at + 4) >>> 11)) * 2 ** -53;
  const gaussians = new Float64Array(count);
  let filled = 0;
  for (let at = 0; filled < count; at += 16) {
    if (at + 16 > stream.length) return null;
    const u = 2 * uniform(at) - 1;
    const v = 2 * uniform(at + 8) - 1;
    const s = u * u + v * v;
    if (s >= 1 || s === 0) continue;
    const factor = Math.sqrt((-2 * portableLog(s)) / s);
    gaussians[filled++] = u * factor;
    if (filled < count) gaussians[filled++] = v * factor;
  }
  return gaussians;
}

/**
 * The carriers' coordinates [K,k]: K independent directions, uniform on the unit sphere of k dimensions
 * (Gaussian rows, normalised).
 * @throws InputError if a count is not a positive integer, the secret is not 32 bytes, or a second mark is asked for:
 * carriers drawn again until one fits would make every p-value worthless
 */
export async function deriveCarriers(source: StreamSource, options: CarrierDraw): Promise<Float64Array> {
  const { classCount: K, dimension: k, purpose, draw = 0 } = options;
  if (!(Number.isSafeInteger(K) && K > 0 && Number.isSafeInteger(k) && k > 0)) {
    throw new InputError(`carriers: class count and dimension must be positive integers, they are ${K} and ${k}`);
  }
  if (!(Number.isSafeInteger(draw) && draw >= 0)) throw new InputError(`carriers: draw must be 0, 1, …, it is ${draw}`);
  if (purpose === 'mark' && draw !== 0) throw new InputError(`carriers: a key has one mark, draw ${draw} is not it`);
  if (purpose !== 'mark' && purpose !== 'decoy')
    throw new InputError(`carriers: they are for mark or decoy, not for ${purpose}`);
  // A pair of uniforms is 16 bytes and gives two numbers with probability π/4; one attempt nearly always suffices.
  let byteLength = 16 * Math.ceil(0.7 * K * k + 64);
  let gaussians: Float64Array | null = null;
  while (gaussians === null) {
    gaussians = polarGaussians(await keyStream(source, `carriers/${purpose}/${draw}`, byteLength), K * k);
    byteLength *= 2;
  }
  for (let row = 0; row < K * k; row += k) {
    let square = 0;
    for (let i = row; i < row + k; i++) square += gaussians[i] * gaussians[i];
    const norm = Math.sqrt(square);
    for (let i = row; i < row + k; i++) gaussians[i] /= norm;
  }
  return gaussians;
}

/**
 * Places coordinates [K,k] in feature space: u_c = g_c · B.
 * @param basis B [k,d] with orthonormal rows, or null where k = d and the coordinates are the directions
 * @throws InputError if a length is not a multiple of k
 */
export function placeCarriers(coordinates: Float64Array, dimension: number, basis: Float64Array | null): Carriers {
  const classCount = coordinates.length / dimension;
  const featureDimension = basis === null ? dimension : basis.length / dimension;
  if (!Number.isInteger(classCount) || !Number.isInteger(featureDimension)) {
    throw new InputError(
      `carriers: ${coordinates.length} coordinates and ${basis?.length} basis elements, dimension ${dimension}`,
    );
  }
  const directions =
    basis === null
      ? coordinates.slice()
      : multiplyTransposed(
          coordinates,
          transpose(basis, dimension, featureDimension),
          classCount,
          featureDimension,
          dimension,
        );
  return { classCount, dimension, featureDimension, coordinates, basis, directions };
}
