import { crc32, deflateRawSync } from 'node:zlib';

/** A file of a zip archive to write, and lies about it. */
export interface ZipFile {
  readonly name: string;
  readonly content: Uint8Array;
  readonly deflate?: boolean;
  /** What the directory says, where that is not the truth. */
  readonly says?: Partial<Record<'size' | 'packedBytes' | 'offset' | 'checksum' | 'method' | 'flags', number>>;
  /** In its own header. */
  readonly localName?: string;
}

/** A zip archive; with `zip64` its counts stand in the records of zip64, those of entries too. */
export function zipOf(files: readonly ZipFile[], { zip64 = false } = {}): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const { name, content, deflate = false, says = {}, localName = name } of files) {
    const data = deflate ? deflateRawSync(content) : Buffer.from(content);
    const truth = {
      size: content.length,
      packedBytes: data.length,
      offset,
      checksum: crc32(content),
      method: deflate ? 8 : 0,
      flags: 0,
    };
    const { size, packedBytes, offset: at, checksum, method, flags } = { ...truth, ...says };
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50);
    local.writeUInt16LE(truth.method, 8);
    local.writeUInt16LE(Buffer.byteLength(localName), 26);
    parts.push(local, Buffer.from(localName), data);
    offset += local.length + Buffer.byteLength(localName) + data.length;

    const header = Buffer.alloc(46);
    const extra = Buffer.alloc(zip64 ? 28 : 0);
    header.writeUInt32LE(0x02014b50);
    header.writeUInt16LE(flags, 8);
    header.writeUInt16LE(method, 10);
    header.writeUInt32LE(checksum, 16);
    header.writeUInt32LE(zip64 ? 0xffffffff : packedBytes, 20);
    header.writeUInt32LE(zip64 ? 0xffffffff : size, 24);
    header.writeUInt16LE(Buffer.byteLength(name), 28);
    header.writeUInt16LE(extra.length, 30);
    header.writeUInt32LE(zip64 ? 0xffffffff : at, 42);
    if (zip64) {
      extra.writeUInt16LE(1);
      extra.writeUInt16LE(24, 2);
      [size, packedBytes, at].forEach((value, i) => {
        extra.writeBigUInt64LE(BigInt(value), 4 + 8 * i);
      });
    }
    directory.push(header, Buffer.from(name), extra);
  }
  const entries = Buffer.concat(directory);
  const record = Buffer.alloc(zip64 ? 76 : 0);
  if (zip64) {
    record.writeUInt32LE(0x06064b50);
    record.writeBigUInt64LE(44n, 4);
    [files.length, files.length, entries.length, offset].forEach((value, i) => {
      record.writeBigUInt64LE(BigInt(value), 24 + 8 * i);
    });
    record.writeUInt32LE(0x07064b50, 56);
    record.writeBigUInt64LE(BigInt(offset + entries.length), 64);
    record.writeUInt32LE(1, 72);
  }
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50);
  end.writeUInt16LE(zip64 ? 0xffff : files.length, 8);
  end.writeUInt16LE(zip64 ? 0xffff : files.length, 10);
  end.writeUInt32LE(zip64 ? 0xffffffff : entries.length, 12);
  end.writeUInt32LE(zip64 ? 0xffffffff : offset, 16);
  return Buffer.concat([...parts, entries, record, end]);
}
