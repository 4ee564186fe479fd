/**
 * Images as NumPy arrays of levels, `uint8 [height, width, 3]`: what the code of the paper's authors writes. Arrays of any other type
 * or shape are no images here: masks and features lie beside images too.
 */

import { parseNpy, serializeNpy } from '../formats/npy.ts';
import type { Decoded } from './codec.ts';
import type { ImageHeader, Refuse } from './header.ts';
import type { Image8 } from './image.ts';

/** A header longer than this is none that NumPy writes for such an array. */
const MOST_HEADER_BYTES = 256;

/** Whether a file begins as such an image does. */
export function isNpyImage(head: Uint8Array): boolean {
  if (head[0] !== 0x93) return false;
  const text = new TextDecoder().decode(head.subarray(1, MOST_HEADER_BYTES));
  return (
    text.startsWith('NUMPY') &&
    /'descr': '\|u1'/.test(text) &&
    /'fortran_order': False/.test(text) &&
    /'shape': \(\d+, \d+, 3\)/.test(text)
  );
}

export function readNpyHeader(bytes: Uint8Array, { damaged }: Refuse): ImageHeader {
  const [height, width] = arrayOf(bytes, damaged).shape;
  return { format: 'NPY', width, height, channels: 3, orientation: 1 };
}

export function decodeNpy(bytes: Uint8Array): Decoded {
  const { shape, data } = parseNpy(bytes, 'npy');
  return { width: shape[1], height: shape[0], channels: 3, data: data as Uint8Array };
}

/** An RGB image as such an array; a grey one is repeated to three channels. */
export function encodeNpy({ width, height, channels, data }: Image8): Uint8Array {
  const levels =
    channels === 3 ? data : Uint8Array.from({ length: 3 * data.length }, (_, i) => data[Math.floor(i / 3)]);
  return serializeNpy([height, width, 3], levels);
}

function arrayOf(bytes: Uint8Array, damaged: Refuse['damaged']) {
  try {
    return parseNpy(bytes, 'npy');
  } catch (error) {
    const [, what] = /^npy: (.*); /.exec((error as Error).message) ?? [];
    return damaged(what ?? 'its header is no description of an array');
  }
}
