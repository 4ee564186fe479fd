import type { Orientation } from './image.ts';

const ORIENTATION_TAG = 0x0112;
const ENTRY_BYTES = 12;

/** Reads a number of a directory entry by its type (TIFF 6.0, section 2): whole numbers of up to four bytes, as Pillow takes. */
const WHOLE_NUMBERS: Partial<Record<number, (view: DataView, at: number, little: boolean) => number>> = {
  1: (view, at) => view.getUint8(at),
  3: (view, at, little) => view.getUint16(at, little),
  4: (view, at, little) => view.getUint32(at, little),
  6: (view, at) => view.getInt8(at),
  8: (view, at, little) => view.getInt16(at, little),
  9: (view, at, little) => view.getInt32(at, little),
};

/** The orientation that EXIF data (a TIFF header and its first directory) asks for; 1 where it says nothing sensible. */
export function exifOrientation(exif: Uint8Array): Orientation {
  const view = new DataView(exif.buffer, exif.byteOffset, exif.byteLength);
  const order = exif.length >= 8 ? view.getUint16(0) : 0;
  if (order !== 0x4949 && order !== 0x4d4d) return 1;
  const little = order === 0x4949;
  const directory = view.getUint32(4, little);
  if (view.getUint16(2, little) !== 42 || directory + 2 > exif.length) return 1;
  const count = view.getUint16(directory, little);
  for (let i = 0; i < count; i++) {
    const entry = directory + 2 + i * ENTRY_BYTES;
    if (entry + ENTRY_BYTES > exif.length) break;
    if (view.getUint16(entry, little) !== ORIENTATION_TAG) continue;
    const read = WHOLE_NUMBERS[view.getUint16(entry + 2, little)];
    const value = read && view.getUint32(entry + 4, little) === 1 ? read(view, entry + 8, little) : 1;
    return value >= 1 && value <= 8 ? (value as Orientation) : 1;
  }
  return 1;
}
