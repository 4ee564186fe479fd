/** Damage to files, drawn from a seed: the same seed, parser and number give the same input on every machine. */

import { crc32 } from '../../src/formats/crc32.ts';
import type { Random } from '../../src/random.ts';

/** How a file may be damaged so that its parser sees more than a wrong checksum. */
export type Repair = 'png' | 'zip';

export interface Seeds {
  readonly files: readonly Uint8Array[];
  /** Also change the tree of JSON texts. */
  readonly json?: boolean | undefined;
  /** Make checksums right again in half of the inputs. */
  readonly repair?: Repair | undefined;
}

const MOST_EDITS = 4;
/** Beyond the files' own size, so that what is duplicated does not grow for ever. */
const MOST_BYTES = 1 << 20;

/** A damaged copy of one of the files. */
export function mutant({ files, json, repair }: Seeds, random: Random): Uint8Array {
  let bytes: Uint8Array = files[random.below(files.length)].slice();
  if (json && random.below(2) === 0) bytes = editTree(bytes, random);
  else for (let n = random.below(MOST_EDITS); n >= 0; n--) bytes = edit(bytes, files, random);
  if (bytes.length > MOST_BYTES) bytes = bytes.slice(0, MOST_BYTES);
  if (repair && random.below(2) === 0) REPAIRS[repair](bytes);
  return bytes;
}

/** Numbers at which parsers break. */
const ODD = [0, 1, 2, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x1_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];

type Edit = (bytes: Uint8Array, files: readonly Uint8Array[], random: Random) => Uint8Array;

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** A place, twice as often near the beginning, where headers are. */
const placeIn = (bytes: Uint8Array, random: Random): number =>
  random.below(Math.max(1, random.below(3) > 0 ? Math.min(256, bytes.length) : bytes.length));

const piece = (bytes: Uint8Array, random: Random): [from: number, to: number] => {
  const from = placeIn(bytes, random);
  return [from, Math.min(bytes.length, from + 1 + random.below(random.below(2) > 0 ? 16 : 4096))];
};

const joined = (...parts: readonly Uint8Array[]): Uint8Array => {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
};

/** A whole number of so many bytes, odd, near the old one, or any. */
const setNumber =
  (size: 2 | 4 | 8): Edit =>
  (bytes, _, random) => {
    if (bytes.length < size) return bytes;
    const at = Math.min(placeIn(bytes, random), bytes.length - size);
    const little = random.below(2) > 0;
    const view = viewOf(bytes);
    const odd = [
      ODD[random.below(ODD.length)],
      random.uint32(),
      (size === 2 ? view.getUint16(at, little) : view.getUint32(at, little)) + random.below(5) - 2,
    ][random.below(3)];
    if (size === 2) view.setUint16(at, odd, little);
    else if (size === 4) view.setUint32(at, odd, little);
    else view.setBigUint64(at, random.below(4) > 0 ? BigInt.asUintN(64, BigInt(odd)) : 2n ** 63n - 1n, little);
    return bytes;
  };

const EDITS: readonly Edit[] = [
  (bytes, _, random) => {
    if (bytes.length > 0) bytes[placeIn(bytes, random)] ^= 1 << random.below(8);
    return bytes;
  },
  (bytes, _, random) => {
    if (bytes.length > 0) bytes[placeIn(bytes, random)] = random.below(256);
    return bytes;
  },
  setNumber(2),
  setNumber(4),
  setNumber(8),
  (bytes, _, random) => bytes.slice(0, random.below(bytes.length + 1)),
  (bytes, _, random) => {
    const [from, to] = piece(bytes, random);
    return joined(
      bytes.subarray(0, to),
      ...Array(1 + random.below(4)).fill(bytes.subarray(from, to)),
      bytes.subarray(to),
    );
  },
  (bytes, _, random) => {
    const [from, to] = piece(bytes, random);
    return joined(bytes.subarray(0, from), bytes.subarray(to));
  },
  (bytes, files, random) => {
    const other = files[random.below(files.length)];
    const [from, to] = piece(other, random);
    const at = placeIn(bytes, random);
    return joined(
      bytes.subarray(0, at),
      other.subarray(from, to),
      bytes.subarray(random.below(2) > 0 ? at : Math.min(bytes.length, at + to - from)),
    );
  },
];

const edit: Edit = (bytes, files, random) => EDITS[random.below(EDITS.length)](bytes, files, random);

type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

const ODD_VALUES: readonly Json[] = [
  null,
  true,
  0,
  -1,
  0.5,
  1e308,
  2 ** 40,
  2 ** 53,
  -0,
  '',
  'NaN',
  '-Infinity',
  '\u001b[2J',
  '\u202e',
  '\ud800',
  '../../x',
  '__proto__',
  'a'.repeat(10_000),
  '0'.repeat(64),
  [],
  {},
  [[[[]]]],
];

/** A JSON text with one to three values changed, left out, moved, given twice or put deep. The bytes as they are where it is none. */
function editTree(bytes: Uint8Array, random: Random): Uint8Array {
  let root: Json;
  try {
    root = JSON.parse(new TextDecoder().decode(bytes)) as Json;
  } catch {
    return bytes;
  }
  for (let n = random.below(3); n >= 0; n--) root = editNode(root, random);
  const text = JSON.stringify(root);
  // A field twice is no tree.
  const doubled = random.below(8) === 0 ? text.replace(/\{("[^"]*":)/, '{$1null,$1') : text;
  return new TextEncoder().encode(doubled);
}

function editNode(node: Json, random: Random): Json {
  const isTree = typeof node === 'object' && node !== null;
  const names = isTree ? Object.keys(node) : [];
  if (names.length > 0 && random.below(5) > 0) {
    const name = names[random.below(names.length)];
    const tree = node as { [name: string]: Json };
    const kind = random.below(12);
    if (kind === 0 && Array.isArray(node)) node.splice(Number(name), 1);
    else if (kind === 0) delete tree[name];
    else if (kind === 1 && Array.isArray(node)) node.push(...Array(random.below(50)).fill(node[Number(name)]));
    else if (kind === 1) tree[`${name}x`] = tree[name];
    else if (kind === 2) tree[name] = tree[names[random.below(names.length)]];
    else tree[name] = editNode(tree[name], random);
    return node;
  }
  if (typeof node === 'string' && random.below(2) > 0) {
    const at = random.below(node.length + 1);
    return `${node.slice(0, at)}${String.fromCharCode(random.below(random.below(2) > 0 ? 128 : 65_536))}${node.slice(at + random.below(2))}`;
  }
  if (typeof node === 'number' && random.below(2) > 0) return [node + 1, -node, node * 1e6, node / 3][random.below(4)];
  if (random.below(10) === 0) {
    let deep = node;
    for (let n = random.below(200); n >= 0; n--) deep = random.below(2) > 0 ? [deep] : { x: deep };
    return deep;
  }
  return structuredClone(ODD_VALUES[random.below(ODD_VALUES.length)]);
}

const REPAIRS: Readonly<Record<Repair, (bytes: Uint8Array) => void>> = {
  /** Each chunk's checksum, as far as chunks can be followed. */
  png(bytes) {
    const view = viewOf(bytes);
    for (let at = 8; at + 12 <= bytes.length; ) {
      const end = at + 8 + view.getUint32(at);
      if (end + 4 > bytes.length) return;
      view.setUint32(end, crc32(bytes.subarray(at + 4, end)));
      at = end + 4;
    }
  },
  /** Those of stored entries, in the directory and before the entry. */
  zip(bytes) {
    const view = viewOf(bytes);
    for (let at = 0; at + 46 <= bytes.length; at++) {
      if (view.getUint32(at, true) !== 0x02014b50) continue;
      const [size, offset] = [view.getUint32(at + 20, true), view.getUint32(at + 42, true)];
      if (view.getUint16(at + 10, true) !== 0 || offset + 30 > bytes.length) continue;
      const from = offset + 30 + view.getUint16(offset + 26, true) + view.getUint16(offset + 28, true);
      if (from + size > bytes.length) continue;
      const checksum = crc32(bytes.subarray(from, from + size));
      view.setUint32(at + 16, checksum, true);
      if (view.getUint32(offset + 14, true) !== 0) view.setUint32(offset + 14, checksum, true);
    }
  },
};
