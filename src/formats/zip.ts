import { InputError } from '../errors.ts';
import { crc32 } from './crc32.ts';
import { gunzip } from './gzip.ts';

/** One file of a zip archive. */
export interface ZipEntry {
  readonly name: string;
  /** Bytes, unpacked. */
  readonly size: number;
  /** Whether its bytes stand in the archive as they are. */
  readonly stored: boolean;
  /** Its content, checked against its checksum; a view of the archive where it is stored. Throws InputError where it is damaged. */
  read(): Promise<Uint8Array>;
}

const LOCAL_HEADER = { signature: 0x04034b50, bytes: 30 };
const DIRECTORY_HEADER = { signature: 0x02014b50, bytes: 46 };
const END = { signature: 0x06054b50, bytes: 22 };
const END_64 = { signature: 0x06064b50, bytes: 56 };
const LOCATOR_64 = { signature: 0x07064b50, bytes: 20 };
const EXTRA_64 = 0x0001;
const MAX_COMMENT_BYTES = 0xffff;
const STORED = 0;
const DEFLATED = 8;
const ENCRYPTED = 1;
/** Deflate makes things up to 1032 times smaller; weights are hardly ever below half their size. */
const MAX_UNPACKING = 16;

/** Whether bytes begin like a zip archive that is not empty. */
export function isZip(bytes: Uint8Array): boolean {
  return bytes.length >= 4 && viewOf(bytes).getUint32(0, true) === LOCAL_HEADER.signature;
}

/**
 * Reads the directory of a zip archive, zip64 included; entries stored or deflated. Nothing is unpacked before it is read.
 *
 * @throws InputError if any length or offset does not fit the file, entries overlap or have the same name, the directory and the
 * entries disagree, an entry is encrypted or compressed otherwise, or the whole says that it unpacks to more than 16 times its size.
 */
export function readZip(bytes: Uint8Array, fileName: string): ReadonlyMap<string, ZipEntry> {
  const fail = (what: string, cure = 'save or download it again'): never => {
    throw new InputError(`${fileName}: ${what}; ${cure}`);
  };
  const view = viewOf(bytes);
  const { count, start, end } = findDirectory(view, fail);

  const entries = new Map<string, ZipEntry>();
  const ranges: { readonly name: string; readonly begin: number; readonly end: number }[] = [];
  let unpacked = 0;
  let at = start;
  for (let i = 0; i < count; i++) {
    const header = readDirectoryHeader(bytes, view, at, end, fail);
    const { name, flags, method, packedBytes, size, offset, checksum } = header;
    at = header.end;
    if (entries.has(name)) fail(`damaged: the zip archive has two entries ${quote(name)}`);
    if (flags & ENCRYPTED) fail(`its zip entry ${quote(name)} is encrypted`, 'decrypt it first');
    if (method !== STORED && method !== DEFLATED)
      fail(`its zip entry ${quote(name)} is compressed by method ${method}`, 'unpack it and pack it again, stored');
    if (method === STORED && packedBytes !== size)
      fail(`damaged: its stored zip entry ${quote(name)} has ${packedBytes} bytes and says ${size}`);
    const dataStart = localDataStart(bytes, view, name, offset, fail);
    if (dataStart + packedBytes > start)
      fail(`damaged: its zip entry ${quote(name)} ends at byte ${dataStart + packedBytes}, beyond the entries`);
    ranges.push({ name, begin: offset, end: dataStart + packedBytes });
    unpacked += size;
    const packed = bytes.subarray(dataStart, dataStart + packedBytes);
    entries.set(name, {
      name,
      size,
      stored: method === STORED,
      read: async () => {
        const content = method === STORED ? packed : await inflate(packed, size, checksum);
        if (content === undefined || (method === STORED && crc32(content) !== checksum))
          return fail(`damaged: its zip entry ${quote(name)} is not what its checksum says`);
        return content;
      },
    });
  }
  if (at !== end) fail(`damaged: its zip directory has ${end - at} bytes more than its ${count} entries`);
  ranges.sort((a, b) => a.begin - b.begin);
  ranges.forEach((range, i) => {
    if (i > 0 && range.begin < ranges[i - 1].end)
      fail(`damaged: its zip entries ${quote(ranges[i - 1].name)} and ${quote(range.name)} overlap`);
  });
  if (unpacked > MAX_UNPACKING * bytes.length)
    fail(
      `its zip entries say that they unpack to ${unpacked} bytes, more than ${MAX_UNPACKING} times the file`,
      'unpack it and pack it again, stored',
    );
  return entries;
}

type Fail = (what: string, cure?: string) => never;

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** A name for a one-line message, however long or odd it is. */
const quote = (name: string): string => JSON.stringify(name.length > 100 ? `${name.slice(0, 100)}…` : name);

/** Where the directory's headers lie, and how many there are. */
function findDirectory(view: DataView, fail: Fail): { count: number; start: number; end: number } {
  // At the very end, but for a comment.
  let at = view.byteLength - END.bytes;
  const lowest = Math.max(0, at - MAX_COMMENT_BYTES);
  const isEnd = (offset: number): boolean =>
    view.getUint32(offset, true) === END.signature &&
    offset + END.bytes + view.getUint16(offset + 20, true) === view.byteLength;
  while (at >= lowest && !isEnd(at)) at--;
  if (at < lowest) fail(`truncated: no end of a zip archive in its ${view.byteLength} bytes`);

  const disks = view.getUint16(at + 4, true) | view.getUint16(at + 6, true);
  let count = view.getUint16(at + 10, true);
  let size = view.getUint32(at + 12, true);
  let start = view.getUint32(at + 16, true);
  let end = at;
  const locator = at - LOCATOR_64.bytes;
  if (locator >= 0 && view.getUint32(locator, true) === LOCATOR_64.signature) {
    const record = bigCount(view, locator + 8, fail);
    if (record + END_64.bytes > locator || view.getUint32(record, true) !== END_64.signature)
      fail('damaged: no zip64 record where the archive says');
    const large = {
      count: bigCount(view, record + 32, fail),
      size: bigCount(view, record + 40, fail),
      start: bigCount(view, record + 48, fail),
    };
    if (
      (count !== 0xffff && count !== large.count) ||
      (size !== 0xffffffff && size !== large.size) ||
      (start !== 0xffffffff && start !== large.start)
    )
      fail('damaged: its zip and zip64 records disagree');
    ({ count, size, start } = large);
    end = record;
  }
  if (disks !== 0 && disks !== 0xffff) fail('a part of a zip archive of several', 'give all of it as one file');
  if (start + size !== end)
    fail(`damaged: its zip directory lies at bytes ${start} to ${start + size}, not before ${end}`);
  if (count * DIRECTORY_HEADER.bytes > size) fail(`damaged: its zip directory is too small for ${count} entries`);
  return { count, start, end };
}

function readDirectoryHeader(bytes: Uint8Array, view: DataView, at: number, end: number, fail: Fail) {
  if (at + DIRECTORY_HEADER.bytes > end || view.getUint32(at, true) !== DIRECTORY_HEADER.signature)
    fail('damaged: its zip directory does not have the entries it says');
  const nameEnd = at + DIRECTORY_HEADER.bytes + view.getUint16(at + 28, true);
  const extraEnd = nameEnd + view.getUint16(at + 30, true);
  const headerEnd = extraEnd + view.getUint16(at + 32, true);
  if (headerEnd > end) fail('damaged: an entry of its zip directory is longer than the directory');
  const header = {
    name: decodeName(bytes.subarray(at + DIRECTORY_HEADER.bytes, nameEnd), fail),
    flags: view.getUint16(at + 8, true),
    method: view.getUint16(at + 10, true),
    checksum: view.getUint32(at + 16, true),
    packedBytes: view.getUint32(at + 20, true),
    size: view.getUint32(at + 24, true),
    offset: view.getUint32(at + 42, true),
    end: headerEnd,
  };
  // Numbers that do not fit 32 bits follow in an extra field, those that do not and no others.
  let extra = nameEnd;
  while (extra + 4 <= extraEnd) {
    const [id, length] = [view.getUint16(extra, true), view.getUint16(extra + 2, true)];
    let from = extra + 4;
    extra = from + length;
    if (extra > extraEnd) fail('damaged: an extra field of its zip directory is longer than its entry');
    if (id !== EXTRA_64) continue;
    for (const field of ['size', 'packedBytes', 'offset'] as const) {
      if (header[field] !== 0xffffffff) continue;
      if (from + 8 > extra) fail('damaged: a zip64 field of its zip directory is too short');
      header[field] = bigCount(view, from, fail);
      from += 8;
    }
  }
  return header;
}

/** Where an entry's data begin, after its own header, which must be of that name. */
function localDataStart(bytes: Uint8Array, view: DataView, name: string, offset: number, fail: Fail): number {
  const headerEnd = offset + LOCAL_HEADER.bytes;
  if (headerEnd > bytes.length || view.getUint32(offset, true) !== LOCAL_HEADER.signature)
    fail(`damaged: no zip entry ${quote(name)} where the directory says`);
  const nameEnd = headerEnd + view.getUint16(offset + 26, true);
  if (nameEnd > bytes.length || decodeName(bytes.subarray(headerEnd, nameEnd), fail) !== name)
    fail(`damaged: its zip entry ${quote(name)} has another name than in the directory`);
  return nameEnd + view.getUint16(offset + 28, true);
}

function decodeName(bytes: Uint8Array, fail: Fail): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return fail('damaged: the name of a zip entry is not UTF-8');
  }
}

/** A 64-bit number of bytes or things, which must lie inside the file anyhow. */
function bigCount(view: DataView, at: number, fail: Fail): number {
  const value = view.getBigUint64(at, true);
  return value <= BigInt(view.byteLength) ? Number(value) : fail(`damaged: its zip archive has the size ${value}`);
}

/** Deflated data that must unpack to `size` bytes with that checksum; undefined where they do not. */
async function inflate(data: Uint8Array, size: number, checksum: number): Promise<Uint8Array | undefined> {
  // A gzip file is deflated data between a header and these two numbers; runtimes unpack it, not all raw ones.
  const file = new Uint8Array(10 + data.length + 8);
  file.set([0x1f, 0x8b, 8]);
  file.set(data, 10);
  const view = viewOf(file);
  view.setUint32(file.length - 8, checksum, true);
  view.setUint32(file.length - 4, size, true);
  const content = new Uint8Array(size);
  let length = 0;
  try {
    for await (const part of gunzip(file)) {
      if (length + part.length > size) return undefined;
      content.set(part, length);
      length += part.length;
    }
  } catch {
    return undefined;
  }
  return length === size ? content : undefined;
}
