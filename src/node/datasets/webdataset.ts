import { open } from 'node:fs/promises';
import { join } from 'node:path';
import type { Dataset } from '../../datasets/dataset.ts';
import { isManifestId } from '../../datasets/manifest.ts';
import { InputError } from '../../errors.ts';
import { concatBytes } from '../../formats/gzip.ts';
import { printable } from '../../formats/printable.ts';
import { decodeImage, readImageHeader, SNIFF_BYTES, uprightShape } from '../../images/decode.ts';
import { fileError } from '../files/files.ts';
import { nodeCodec } from '../images/codec.ts';
import { folderOpener } from './folder.ts';
import { readClasses } from './idx.ts';
import { CLASSES_NAME } from './idx_writer.ts';
import { LabelColumn } from './labels.ts';
import type { DatasetOpener, Location, OpenDatasetOptions } from './opener.ts';
import { faultOfHead, findShards, holdsShards, refuseFaulty } from './shards.ts';
import { isGzipFile, type TarMember, tarMembers } from './tar.ts';
import { Unpacked } from './unpacked.ts';
import { sampleParts, webdatasetFormat } from './webdataset_writer.ts';

const SHARD = /\.(?:tar|tar\.gz|tgz)$/i;
/** Extensions of a sample's image; `.seg.png` and the like are not its image. */
const IMAGE = /^(?:png|jpe?g|webp|gif|tiff?|bmp|ppm|pgm|avif|hei[cf]|jxl)$/i;
/** Extensions that say what a sample's class is, the first that is there. */
const LABELS = ['cls', 'json', 'txt'] as const;
/** Most that is read of a file that says it, in bytes. */
const LABEL_BYTES = 2 ** 20;

/** Shards of tar in WebDataset's form: a file, a folder of them, or a pattern. */
export const webdatasetOpener: DatasetOpener = {
  isAt: (location) => holdsShards(location, SHARD),
  open: openWebdataset,
  begin: folderOpener.begin,
};

/** A sample's image in a shard. */
interface ShardImage {
  /** Its member's name. */
  readonly name: string;
  /** Where its bytes are, in the shard or unpacked. */
  readonly offset: number;
  readonly size: number;
  readonly fault?: string;
}

/** An image of a sample, and what the sample says of its class. */
interface Sample {
  readonly key: string;
  readonly images: { -readonly [name in keyof ShardImage]: ShardImage[name] }[];
  readonly labels: { [extension in (typeof LABELS)[number]]?: string };
}

async function openWebdataset(location: Location, path: string, options: OpenDatasetOptions): Promise<Dataset> {
  const { root, names: shards, others } = await findShards(location, (name) => SHARD.test(name), path, options);
  const labels = new LabelColumn();
  const [shardOf, offsets, sizes]: number[][] = [[], [], []];
  const members: string[] = [];
  const faults = new Map<number, string>();
  const unpacked: (Unpacked | undefined)[] = [];
  let store: Unpacked | undefined;
  const damaged: InputError[] = [];
  for (const [shard, name] of shards.entries()) {
    const file = join(root, name);
    try {
      if (await isGzipFile(file)) store ??= await Unpacked.create();
      unpacked.push((await isGzipFile(file)) ? store : undefined);
      for await (const { image, label } of samplesOf(file, unpacked[shard])) {
        if (image.fault) faults.set(members.length, image.fault);
        shardOf.push(shard);
        offsets.push(image.offset);
        sizes.push(image.size);
        members.push(image.name);
        labels.push(label);
      }
    } catch (error) {
      // Shards are looked through to the last: all that are damaged are told at once.
      if (!(error instanceof InputError)) throw error;
      damaged.push(error);
    }
  }
  if (damaged.length > 0) {
    const more = damaged.slice(1).map(({ message }) => message.split(': ')[0]);
    throw more.length === 0
      ? damaged[0]
      : new InputError(`${damaged[0].message} (and ${more.length} more shards: ${more.slice(0, 3).join(', ')})`);
  }
  if (members.length === 0) {
    throw new InputError(
      `${path}: no samples with an image (.jpg, .png or .webp) in ${shards.length} shards; give others`,
    );
  }
  const id = (index: number): string => {
    if (!(index in members)) throw new RangeError(`${path}: no item ${index} among ${members.length}`);
    return `${shards[shardOf[index]]}/${members[index]}`;
  };
  refuseFaulty(path, faults, id, members.length, options.keepFaults);
  const named = await readClasses(root);
  const resolved = labels.resolve(path, options.classes ?? named);

  const codec = options.codec ?? (await nodeCodec());
  const shown = (index: number): string => join(root, printable(id(index)));
  const bytes = async (index: number): Promise<Uint8Array> => {
    const name = id(index);
    const from = unpacked[shardOf[index]];
    return from
      ? from.read(offsets[index], sizes[index])
      : readRange(join(root, shards[shardOf[index]]), offsets[index], sizes[index], name);
  };
  return {
    path,
    root,
    format: webdatasetFormat({ root, shards, length: members.length, namedClasses: named !== undefined }),
    ...resolved,
    length: members.length,
    otherFiles: others.filter((name) => name !== CLASSES_NAME),
    ...(options.keepFaults && { faults }),
    id,
    shape: async (index) => uprightShape(readImageHeader(await bytes(index), shown(index), options.decode)),
    image: async (index) => decodeImage(codec, await bytes(index), shown(index), options.decode),
    bytes,
  };
}

/**
 * The images of a shard's samples in order, each with the class that its sample names. Members of one sample follow each other.
 *
 * @param unpacked takes the images of a compressed shard
 * @throws InputError where the shard is damaged, or a sample with an image says nothing of its class
 */
async function* samplesOf(file: string, unpacked?: Unpacked): AsyncGenerator<{ image: ShardImage; label: string }> {
  const seen = new Set<string>();
  const finished = (sample: Sample): { image: ShardImage; label: string } | undefined => {
    const { key, images } = sample;
    if (images.length === 0) return undefined;
    const [image] = images;
    if (images.length > 1) image.fault ??= `the sample has ${images.length} images; keep one`;
    else if (seen.has(key)) image.fault ??= 'the shard has another sample of this name; rename one';
    seen.add(key);
    const label = labelOf(sample);
    if (label !== undefined) return { image, label };
    throw new InputError(
      `${file}: sample ${printable(key)} does not say its class; add a .cls, a .json with a label, or a .txt to it`,
    );
  };
  let sample: Sample | undefined;
  for await (const member of tarMembers(file)) {
    const parts = member.header.type === 'file' && sampleParts(member.name);
    if (!parts) continue;
    const { key, extension } = parts;
    if (sample && sample.key !== key) {
      const before = finished(sample);
      if (before) yield before;
      sample = undefined;
    }
    sample ??= { key, images: [], labels: {} };
    if (IMAGE.test(extension)) sample.images.push(await imageOf(member, unpacked));
    const kind = LABELS.find((each) => each === extension.toLowerCase());
    if (kind && member.size <= LABEL_BYTES) sample.labels[kind] = await textOf(member);
  }
  const last = sample && finished(sample);
  if (last) yield last;
}

/** Where an image is, and what its first bytes tell of it. */
async function imageOf(member: TarMember, unpacked?: Unpacked): Promise<Sample['images'][number]> {
  const { name, size } = member;
  const offset = unpacked ? unpacked.size : member.offset;
  const head: Uint8Array[] = [];
  let known = 0;
  for await (const piece of member.content) {
    if (known < SNIFF_BYTES) head.push(piece.slice(0, SNIFF_BYTES));
    known += piece.length;
    await unpacked?.append(piece);
  }
  const fault = isManifestId(`x/${name}`)
    ? faultOfHead(concatBytes(head))
    : 'a name that no manifest can hold; rename it';
  return { name, offset, size, ...(fault !== undefined && { fault }) };
}

async function textOf({ content }: TarMember): Promise<string> {
  const pieces: Uint8Array[] = [];
  for await (const piece of content) pieces.push(piece);
  return new TextDecoder().decode(concatBytes(pieces));
}

/** What a sample says of its class, undefined if nothing. */
function labelOf({ labels }: Sample): string | undefined {
  if (labels.cls !== undefined) return labels.cls.trim() || undefined;
  if (labels.json !== undefined) {
    try {
      const { label, cls, class: name } = JSON.parse(labels.json) as Record<string, unknown>;
      const found = label ?? cls ?? name;
      if (typeof found === 'string' || typeof found === 'number') return String(found).trim() || undefined;
    } catch {
      // A damaged description says nothing.
    }
  }
  return labels.txt?.trim() || undefined;
}

/** Bytes of a shard. Throws InputError where it has become shorter, or cannot be read. */
async function readRange(path: string, offset: number, size: number, id: string): Promise<Uint8Array> {
  const bytes = new Uint8Array(size);
  try {
    const file = await open(path);
    try {
      for (let done = 0; done < size; ) {
        const { bytesRead } = await file.read(bytes, done, size - done, offset + done);
        if (bytesRead === 0)
          throw new InputError(`${path}: ends before ${printable(id)}; it was changed, open it again`);
        done += bytesRead;
      }
    } finally {
      await file.close();
    }
    return bytes;
  } catch (error) {
    throw error instanceof InputError ? error : fileError(path, error);
  }
}
