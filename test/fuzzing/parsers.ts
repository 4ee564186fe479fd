/** Every parser of a file that somebody else may have written, with the valid files that are damaged. */

import { readdirSync, readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { hexToBytes } from '@noble/hashes/utils.js';
import { parseManifest, serializeManifest } from '../../src/datasets/manifest.ts';
import { merkleRoot } from '../../src/datasets/merkle.ts';
import { parseScores } from '../../src/detection/score_file.ts';
import { notChecked, passed } from '../../src/evidence/check.ts';
import { appendLook, newRegister, parseRegister, serializeRegister } from '../../src/evidence/register.ts';
import { hashResult, parseStoredResult } from '../../src/evidence/result.ts';
import { stampedHash, verifyReply } from '../../src/evidence/timestamp.ts';
import { concludeVerification, parseVerification } from '../../src/evidence/verification.ts';
import { parseCifarNames, parseCifarPickle } from '../../src/formats/cifar.ts';
import { parseCsv } from '../../src/formats/csv.ts';
import { parseJson } from '../../src/formats/document.ts';
import { parseIdx, serializeIdx } from '../../src/formats/idx.ts';
import { jsonDocument } from '../../src/formats/json.ts';
import { parseNpy, serializeNpy } from '../../src/formats/npy.ts';
import { parsePth } from '../../src/formats/pth.ts';
import { parseSafetensors, serializeSafetensors } from '../../src/formats/safetensors.ts';
import { hashBytes } from '../../src/formats/sha256.ts';
import { readZip } from '../../src/formats/zip.ts';
import type { ImageCodec } from '../../src/images/codec.ts';
import { decodeImage, readImageHeader } from '../../src/images/decode.ts';
import { exifOrientation } from '../../src/images/exif.ts';
import { checkBeacon, QUICKNET } from '../../src/marking/beacon.ts';
import { commitment, keyCarriers, keyProbeOrders, parseKey } from '../../src/marking/key.ts';
import {
  type ProbeManifest,
  parseProbeManifest,
  probeLayout,
  serializeProbeManifest,
} from '../../src/marking/probe_manifest.ts';
import { parseModelFile } from '../../src/nn/model_file.ts';
import { parseClassNames } from '../../src/node/datasets/idx.ts';
import { parseConfig } from '../../src/node/experiment/config.ts';
import { parseResults } from '../../src/node/experiment/results.ts';
import { nodePortableCodec } from '../../src/node/images/codec.ts';
import { MarkOutcomeSchema } from '../../src/node/runs/marking_run.ts';
import { parseJournal } from '../../src/node/runs/resumable_folder.ts';
import { reportPage } from '../../src/report/page.ts';
import { makeReport } from '../../src/report/report.ts';
import { chunk, png } from '../png.ts';
import { sampleResult } from '../sample_result.ts';
import type { Seeds } from './mutate.ts';

/** What the parsers call the file. */
const FILE = 'fuzz.bin';
/** A decoded image is larger than its file as far as this allows; the default is 64 million. */
const MAX_PIXELS = 2 ** 22;

/** One parser. */
export interface FuzzedParser {
  /** Valid files, the same in every run. */
  seeds(): Seeds;
  /** Gives a value, or throws a `RadioactiveError`. */
  parse(bytes: Uint8Array): unknown;
}

const golden = (name: string): Uint8Array => new Uint8Array(readFileSync(`test/golden/${name}`));
const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const textOf = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const images = (...extensions: string[]): Uint8Array[] =>
  readdirSync('test/golden/images')
    .filter((name) => extensions.some((extension) => name.endsWith(extension)))
    .sort()
    .map((name) => golden(`images/${name}`));
/** A TIFF header with one field, the orientation. */
const EXIF = hexToBytes(`49492a0008000000010012010300010000000600000000000000${'00'.repeat(8)}`);
const hex = (digit: string): string => digit.repeat(64);
const texts = (...values: string[]): Seeds => ({ files: values.map(text), json: true });

/** PNG files of every colour type that is decoded, one with all chunks that are looked at. */
function pngs(): Uint8Array[] {
  const rows = (bytes: number) => Array.from({ length: 4 * (1 + bytes) }, (_, i) => (i % (1 + bytes) ? i : i % 5));
  const exif = chunk('eXIf', EXIF);
  return [
    png({ width: 4, height: 4, colorType: 0, rows: rows(4), before: [exif] }),
    png({ width: 4, height: 4, colorType: 2, rows: rows(12), before: [chunk('tRNS', new Uint8Array(6))] }),
    png({ width: 4, height: 4, colorType: 3, depth: 2, rows: rows(1), before: [chunk('PLTE', new Uint8Array(12))] }),
    png({ width: 4, height: 4, colorType: 6, depth: 16, rows: rows(32) }),
    ...images('.png'),
  ].map((bytes) => new Uint8Array(bytes));
}

/** Keys of every version, from the documentation. */
function keys(): string[] {
  const page = readFileSync('docs/key-derivation.md', 'utf8');
  const blocks = [...page.matchAll(/```json\n(.*?)```/gs)].map(([, block]) => JSON.parse(block) as unknown);
  const found: string[] = [];
  const visit = (value: unknown): void => {
    if (typeof value !== 'object' || value === null) return;
    if ((value as { format?: unknown }).format === 'radioactive-key') found.push(JSON.stringify(value));
    else for (const each of Object.values(value)) visit(each);
  };
  visit(blocks);
  if (found.length === 0) throw new Error('docs/key-derivation.md has no key');
  return found;
}

const CLASSES = ['ape', 'bee', 'cat'];

const PROBES: ProbeManifest = {
  format: 'radioactive-probes',
  version: 1,
  source: { layout: 'folder', count: 6, sha256: hex('a') },
  keyCommitment: hex('b'),
  options: { decoys: 1, perClass: 1, radiusLevels: 10, modelSha256: hex('c') },
  classes: CLASSES,
  sets: 2,
  layout: 'folder',
  images: CLASSES.map((name) => ({ class: name, id: `${name}/1.png` })),
  sha256: hex('d'),
  marks: { changeLevels: CLASSES.map(() => [5, 5.5]), gain: CLASSES.map(() => [0.5, 0.25]) },
};
const ROWS = CLASSES.length * 3;
const LIST = `index,file,class,image,version\n${Array.from({ length: ROWS }, (_, i) => `${i},${i}.png,${CLASSES[Math.floor(i / 3)]},${Math.floor(i / 3)},${i % 3}\n`).join('')}`;
const SCORED = { manifest: PROBES, list: { name: 'list.csv', text: async () => LIST } };

const MANIFEST = serializeManifest({
  format: 'radioactive-manifest',
  version: 2,
  source: { path: 'data', layout: 'folder', count: 3, sha256: hex('a') },
  keyCommitment: hex('b'),
  options: { radiusLevels: 10, iterations: 90, lr: 1, seed: 1, fraction: 0.1, flip: true, modelSha256: hex('c') },
  classes: ['cat', 'dog'],
  summary: { count: 2, meanPsnr: 31.7, note: 'ok' },
  skipped: [{ id: 'cat/9.gif', reason: 'a GIF' }],
  merkleRoot: hex('e'),
  images: [
    { id: 'cat/1.png', class: 'cat', psnr: 31.25, ssim: 0.9, maxChangeLevels: 10, gain: 1.5, sha256: hex('c') },
    { id: 'dog/x/1.png', class: 'dog', psnr: null, maxChangeLevels: 0, gain: 0, sha256: hex('d') },
  ],
});

/** A register whose times are not now, so that inputs are the same in every run. */
function register(): string {
  const look = { test: 'white-box', primary: true, options: { centre: true }, suspect: hex('b'), data: hex('c') };
  const { lines } = appendLook(newRegister(FILE, hex('a'), true), { ...look, log10p: -3.5, resultSha256: hex('d') });
  const time = '2031-01-02T03:04:05.000Z';
  const first = JSON.stringify({ ...JSON.parse(lines[0]), begun: time });
  const entry = JSON.stringify({ ...JSON.parse(lines[1]), previous: hashBytes(text(first)), time });
  const last = JSON.stringify({ entries: 1, head: hashBytes(text(entry)) });
  return serializeRegister({ ...parseRegister(`${[first, entry, last].join('\n')}\n`, FILE, hex('a')) });
}

const BLACK_BOX = sampleResult({
  change: (result) => {
    const { alignment, dimension, meanCosine, perClass, ...rest } = result;
    return {
      ...rest,
      test: 'black-box',
      statistics: [{ ...rest.statistics[0], name: 'black-box sum of responses' }],
      blackBox: {
        sets: 50,
        imagesPerClass: 10,
        scores: 'logits',
        control: { beta: [0.5], explained: 0.25 },
        marksLog10P: -0.3,
        probes: { path: 'probes', sha256: hex('a') },
        references: [{ path: 'reference.safetensors', sha256: hex('b') }],
      },
    };
  },
});

const CONFIGS = () =>
  readdirSync('experiments')
    .filter((name) => name.endsWith('.json'))
    .sort();

const ROUND = {
  round: 1000,
  signature: 'b44679b9a59af2ec876b1a6b1ad52ea9b1615fc3982b19576350f93447cb1125e342b73a8dd2bacbe47e4b6b63ed5e39',
};

const JOURNAL = [
  JSON.stringify({ keyCommitment: hex('a'), options: { seed: 0 } }),
  JSON.stringify([0, { id: 'ape/1.png', psnr: 31, ssim: 0.9, maxChangeLevels: 10, gain: 1.5, sha256: hex('b') }]),
  JSON.stringify([1, { skipped: 'damaged PNG' }]),
  '',
].join('\n');

/** The same array packed, and stored. */
function gzips(): Uint8Array[] {
  const idx = serializeIdx({ shape: [3, 4, 4], data: Uint8Array.from({ length: 48 }, (_, i) => i) });
  return [new Uint8Array(gzipSync(idx)), new Uint8Array(gzipSync(idx, { level: 0 }))];
}

let codec: ImageCodec | undefined;
const decode = (bytes: Uint8Array) => {
  codec ??= nodePortableCodec();
  return decodeImage(codec, bytes, FILE, { maxPixels: MAX_PIXELS, accept: ['CMYK', '16-bit', 'animated'] });
};
const header = (bytes: Uint8Array) => readImageHeader(bytes, FILE, { accept: ['CMYK', '16-bit', 'animated'] });

const safetensors = (): Uint8Array[] => [
  serializeSafetensors(
    [
      ['weight', { dtype: 'F32', shape: [2, 3], data: new Float32Array(6) }],
      ['7', { dtype: 'I64', shape: [], data: new BigInt64Array(1) }],
      ['empty', { dtype: 'U8', shape: [0, 4], data: new Uint8Array(0) }],
    ],
    { format: 'pt' },
  ),
];

/** Changes only the header, and says its right length, so that what follows is reached. */
const withHeader = (json: Uint8Array): Uint8Array => {
  const file = new Uint8Array(8 + json.length + 32);
  new DataView(file.buffer).setBigUint64(0, BigInt(json.length), true);
  file.set(json, 8);
  return file;
};

const pth = (): Uint8Array[] => [golden('pth/state.pth'), golden('pth/checkpoint4.pth')];

export const PARSERS = {
  safetensors: { seeds: () => ({ files: safetensors() }), parse: (bytes) => parseSafetensors(bytes, FILE) },
  'safetensors-header': {
    seeds: () =>
      texts(
        '{"__metadata__":{"format":"pt"},"weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"bias":{"dtype":"I64","shape":[],"data_offsets":[24,32]}}',
      ),
    parse: (bytes) => parseSafetensors(withHeader(bytes), FILE),
  },
  model: {
    seeds: () => ({ files: [golden('resnet18_state.safetensors'), golden('resnet18_checkpoint_dataparallel.pth')] }),
    parse: (bytes) => parseModelFile(bytes, FILE),
  },
  pth: { seeds: () => ({ files: pth(), repair: 'zip' }), parse: (bytes) => parsePth(bytes, FILE) },
  'pth-legacy': {
    seeds: () => ({ files: [golden('pth/legacy.pth'), golden('pth/legacy4.pth')] }),
    parse: (bytes) => parsePth(bytes, FILE),
  },
  zip: {
    seeds: () => ({ files: pth(), repair: 'zip' }),
    parse: async (bytes) => {
      for (const entry of readZip(bytes, FILE).values()) await entry.read();
    },
  },
  npy: {
    seeds: () => ({
      files: [
        serializeNpy([2, 3], Float32Array.of(1, 2, 3, 4, 5, 6)),
        serializeNpy([3], Float64Array.of(1, 2, 3)),
        serializeNpy([2], BigInt64Array.of(0n, 1n)),
      ],
    }),
    parse: (bytes) => parseNpy(bytes, FILE),
  },
  cifar: {
    seeds: () => ({ files: [golden('cifar/part'), golden('cifar/protocol-5')] }),
    parse: (bytes) => parseCifarPickle(bytes, FILE, false),
  },
  'cifar-names': {
    seeds: () => ({ files: [golden('cifar/cifar-10-batches-py/batches.meta')] }),
    parse: (bytes) => parseCifarNames(bytes, FILE, false),
  },
  idx: {
    seeds: () => ({
      files: [
        serializeIdx({ shape: [3, 4, 4], data: new Uint8Array(48) }),
        serializeIdx({ shape: [5], data: new Uint8Array(5) }),
      ],
    }),
    parse: (bytes) => parseIdx(bytes, FILE),
  },
  'idx-gz': { seeds: () => ({ files: gzips() }), parse: (bytes) => parseIdx(bytes, FILE) },
  'png-header': { seeds: () => ({ files: pngs(), repair: 'png' }), parse: header },
  'jpeg-header': { seeds: () => ({ files: images('.jpg') }), parse: header },
  'webp-header': { seeds: () => ({ files: images('.webp') }), parse: header },
  png: { seeds: () => ({ files: pngs(), repair: 'png' }), parse: decode },
  jpeg: { seeds: () => ({ files: images('.jpg') }), parse: decode },
  webp: { seeds: () => ({ files: images('.webp') }), parse: decode },
  exif: {
    seeds: () => ({ files: [EXIF] }),
    parse: exifOrientation,
  },
  csv: {
    seeds: () => ({ files: [text(LIST), text('a,"b ""c""\n",d\r\n1,,3\n')] }),
    parse: (bytes) => parseCsv(textOf(bytes), FILE),
  },
  'scores-csv': {
    seeds: () => ({
      files: [
        text(`${CLASSES.join(',')}\n${'0.1,0.2,0.7\n'.repeat(ROWS)}`),
        text(`predicted\n${'bee\n'.repeat(ROWS)}`),
        text(LIST.replaceAll('\n', ',0.5,0.25,0.25\n').replace('0.5,0.25,0.25', CLASSES.join(','))),
      ],
    }),
    parse: (bytes) => parseScores(bytes, 'fuzz.csv', SCORED),
  },
  'scores-npy': {
    seeds: () => ({
      files: [
        serializeNpy(
          [ROWS, 3],
          Float32Array.from({ length: ROWS * 3 }, (_, i) => i % 7),
        ),
        serializeNpy(
          [ROWS],
          BigInt64Array.from({ length: ROWS }, (_, i) => BigInt(i % 3)),
        ),
      ],
    }),
    parse: (bytes) => parseScores(bytes, 'fuzz.npy', SCORED),
  },
  json: {
    seeds: () => texts('{"a":[1,{"b":"\\u001b"}],"c":null}'),
    parse: (bytes) => parseJson(textOf(bytes), FILE, 'x'),
  },
  key: {
    seeds: () => texts(...keys()),
    async parse(bytes) {
      const key = await parseKey(textOf(bytes), FILE);
      await commitment(key);
      await keyCarriers(key);
      await keyProbeOrders(key, 20);
    },
  },
  manifest: {
    seeds: () => texts(MANIFEST),
    parse(bytes) {
      const manifest = parseManifest(textOf(bytes), FILE);
      merkleRoot(manifest.images);
      serializeManifest(manifest);
    },
  },
  register: {
    seeds: () => ({ files: [text(register())] }),
    parse: (bytes) => parseRegister(textOf(bytes), FILE, hex('a')),
  },
  result: {
    seeds: () => texts(jsonDocument(sampleResult()), jsonDocument(BLACK_BOX)),
    parse(bytes) {
      const result = parseStoredResult(textOf(bytes), FILE);
      hashResult(result.json);
      reportPage(makeReport({ result, files: [] }));
    },
  },
  verification: {
    seeds: () => {
      const checks = [passed('commitment', 'is'), notChecked('register', 'is not known', 'its file')];
      const made = concludeVerification(checks, { keyCommitment: hex('a') });
      return texts(JSON.stringify({ ...made, time: '2031-01-02T03:04:05.000Z' }));
    },
    parse: (bytes) => parseVerification(textOf(bytes), FILE),
  },
  probes: {
    seeds: () => texts(serializeProbeManifest(PROBES)),
    parse(bytes) {
      const manifest = parseProbeManifest(textOf(bytes), FILE);
      probeLayout(manifest);
      serializeProbeManifest(manifest);
    },
  },
  config: {
    seeds: () => texts(...CONFIGS().map((name) => readFileSync(`experiments/${name}`, 'utf8'))),
    parse: (bytes) => parseConfig(textOf(bytes), FILE),
  },
  results: {
    seeds: () => texts(readFileSync('experiments/digits-other-marker/results.json', 'utf8')),
    parse: (bytes) => parseResults(textOf(bytes), FILE),
  },
  classes: {
    seeds: () => ({ files: [text('ape\nbee\r\ncat\n')] }),
    parse: (bytes) => parseClassNames(textOf(bytes), FILE),
  },
  journal: {
    seeds: () => texts(JOURNAL),
    parse: (bytes) => parseJournal(textOf(bytes).split('\n'), FILE, MarkOutcomeSchema),
  },
  'time-stamp': {
    seeds: () => ({ files: [golden('timestamp/reply.tsr')] }),
    async parse(bytes) {
      const ca = textOf(golden('timestamp/ca.pem'));
      const request = golden('timestamp/request.tsq');
      stampedHash(bytes, FILE);
      await verifyReply(bytes, { fileName: FILE, imprint: 'ab'.repeat(32), ca, request });
    },
  },
  'time-stamp-request': {
    seeds: () => ({ files: [golden('timestamp/request.tsq')] }),
    parse: (request) =>
      verifyReply(golden('timestamp/reply.tsr'), { fileName: FILE, imprint: 'ab'.repeat(32), request }),
  },
  'certificate-authority': {
    seeds: () => ({ files: [golden('timestamp/ca.pem')] }),
    parse: (bytes) =>
      verifyReply(golden('timestamp/reply.tsr'), { fileName: FILE, imprint: 'ab'.repeat(32), ca: textOf(bytes) }),
  },
  'beacon-stamp': {
    seeds: () => ({ files: [golden('timestamp/reply.tsr')] }),
    parse: (bytes) => checkBeacon({ kind: 'time-stamp' }, bytes, 'ab'.repeat(32), FILE),
  },
  'beacon-round': {
    seeds: () => texts(JSON.stringify(ROUND)),
    parse: (bytes) => checkBeacon({ kind: 'drand', chain: QUICKNET.chain, round: 1000 }, bytes, hex('a'), FILE),
  },
} satisfies Readonly<Record<string, FuzzedParser>>;

/** The name of a parser. */
export type ParserName = keyof typeof PARSERS;

export const PARSER_NAMES = Object.keys(PARSERS) as ParserName[];
