import { concatBytes } from '../formats/gzip.ts';
import type { JpegEncoding } from './codec.ts';
import { exifOrientation } from './exif.ts';
import { ACCEPTED, type ImageHeader, type Refuse } from './header.ts';
import { annexKTables } from './jpeg_coding.ts';

const SOI = 0xd8;
const EOI = 0xd9;
const SOS = 0xda;
const APP0 = 0xe0;
const APP1 = 0xe1;
const APP2 = 0xe2;
const APP11 = 0xeb;
const APP14 = 0xee;
const APP15 = 0xef;
const COM = 0xfe;
const DHT = 0xc4;
const DQT = 0xdb;
const EXIF = 'Exif\0\0';
const ICC = 'ICC_PROFILE\0';
const XMP = 'http://ns.adobe.com/xap/1.0/\0';
/** quantisation and Huffman tables, restart interval: what decoding needs beside frame and scans. */
const TABLES = [0xdb, 0xc4, 0xdd];
const DAC = 0xcc;
const COEFFICIENTS = 64;
/** Every scan is decoded over the whole picture: a small file of many takes minutes. Encoders write a dozen. */
const MOST_SCANS = 100;
/** Codes in Annex K's Huffman tables. */
const DC_CODES = 12;
const AC_CODES = 162;

/** Baseline, extended and progressive, by Huffman or arithmetic coding (T.81, table B.1). */
const PROGRESSIVE = [0xc2, 0xca];
const ARITHMETIC = [0xc9, 0xca];
const DECODABLE = [0xc0, 0xc1, ...PROGRESSIVE, ...ARITHMETIC];

/** A marker with what follows it. */
interface Segment {
  readonly marker: number;
  /** Without its length. */
  readonly data: Uint8Array;
  /** Compressed data behind a scan's header. */
  readonly scan?: Uint8Array;
}

export interface JpegComponent {
  readonly id: number;
  /** Samples of a row or column beside those of the other components: 1 to 4. */
  readonly horizontal: number;
  readonly vertical: number;
  /** Which quantisation table it has: 0 to 3. */
  readonly table: number;
}

/** How a JPEG file's components are to be read. */
export interface JpegFrame {
  readonly marker: number;
  /** Bits a sample. */
  readonly bits: number;
  readonly width: number;
  readonly height: number;
  readonly components: readonly JpegComponent[];
  readonly scans: number;
}

/** What a JPEG file's components mean. */
type JpegColours = 'grey' | 'YCbCr' | 'RGB' | 'CMYK' | 'YCCK';

/**
 * Reads a JPEG file from marker to marker up to its end, without decoding: size, number of components, EXIF orientation. Refused
 * as damaged is a file whose markers lead beyond it, whose end marker is missing, or whose scans do not give every coefficient,
 * so that decoders would make up the rest. Bytes after the end marker are ignored, as cameras put previews there.
 */
export function readJpegHeader(bytes: Uint8Array, refuse: Refuse): ImageHeader {
  const segments = readSegments(bytes, refuse);
  const frame = frameOf(segments, refuse);
  const { marker, bits, width, height, components } = frame;
  const count = components.length;
  if (!DECODABLE.includes(marker))
    return refuse.unread('a lossless or hierarchical JPEG', 'save it as an ordinary JPEG');
  if (bits !== 8) return refuse.unread(`a JPEG of ${bits} bits per channel`, 'convert it to 8 bits');
  if (count !== 1 && count !== 3 && count !== 4)
    return refuse.unread(`a JPEG of ${count} components`, 'convert it to grey or RGB');
  if (frame.scans > MOST_SCANS)
    return refuse.unread(`a JPEG of ${frame.scans} scans`, `save it again with at most ${MOST_SCANS}`);
  if (!isComplete(segments, frame)) return refuse.damaged('scans are missing');
  const exif = segments.find(({ marker, data }) => marker === APP1 && begins(data, EXIF));
  return {
    format: 'JPEG',
    width,
    height,
    channels: count === 1 ? 1 : 3,
    orientation: exif ? exifOrientation(exif.data.subarray(EXIF.length)) : 1,
    ...(count === 4 && { unusual: 'CMYK' as const }),
  };
}

/**
 * The JPEG file with only what decides its pixels: tables, frame, scans, and one segment that says what its components mean, by
 * libjpeg's rules. What decoders warn of in other segments is gone, and so are gain maps and previews, which some decoders would
 * take for part of the picture.
 *
 * @param bytes a file that `readJpegHeader` has accepted.
 */
export function jpegPicture(bytes: Uint8Array): Uint8Array {
  const segments = readSegments(bytes, ACCEPTED);
  const { marker: frameMarker } = frameOf(segments, ACCEPTED);
  const parts = [Uint8Array.of(0xff, SOI), colourSegment(segments, jpegColours(segments))];
  for (const { marker, data, scan } of segments) {
    const needed = [...TABLES, frameMarker, SOS, ...(ARITHMETIC.includes(frameMarker) ? [DAC] : [])];
    if (!needed.includes(marker)) continue;
    const length = data.length + 2;
    const copy = concatBytes([Uint8Array.of(0xff, marker, length >> 8, length & 0xff), data]);
    // A sequential scan has all coefficients whatever its header says; some cameras write zeros there.
    if (marker === SOS && !PROGRESSIVE.includes(frameMarker)) copy.set([0, COEFFICIENTS - 1, 0], copy.length - 3);
    parts.push(copy, ...(scan ? [scan] : []));
  }
  return concatBytes([...parts, Uint8Array.of(0xff, EOI)]);
}

/**
 * How a file was encoded, of those that `readJpegHeader` has accepted, as near as libjpeg can: the quality whose tables it has, or the
 * lowest whose tables are no coarser on the whole; colours of half the columns and rows where it has those, else of all.
 */
export function jpegEncoding(bytes: Uint8Array): JpegEncoding {
  const segments = readSegments(bytes, ACCEPTED);
  const { marker, components } = frameOf(segments, ACCEPTED);
  const tables = quantisationTables(segments);
  const [luminance, chrominance] = [components[0], components.length === 3 ? components[1] : undefined].map(
    (component) => component && tables.get(component.table),
  );
  const [first, second] = components;
  return {
    format: 'JPEG',
    quality: qualityOf(luminance, chrominance),
    halfColours:
      components.length === 3 && first.horizontal === 2 * second.horizontal && first.vertical === 2 * second.vertical,
    progressive: PROGRESSIVE.includes(marker),
    ownHuffmanTables: !hasAnnexKHuffmanTables(segments),
  };
}

/** The lowest quality at which Annex K's tables are no coarser, by their sums: of its own tables, their quality. */
function qualityOf(luminance: Uint16Array | undefined, chrominance: Uint16Array | undefined): number {
  const sum = (table: ArrayLike<number> | undefined): number =>
    Array.from(table ?? []).reduce((total, step) => total + step, 0);
  const most = sum(luminance) + sum(chrominance);
  for (let quality = 1; quality < 100; quality++) {
    const scaled = annexKTables(quality);
    if (sum(scaled.luminance) + (chrominance ? sum(scaled.chrominance) : 0) <= most) return quality;
  }
  return 100;
}

/** Quantisation tables, by their numbers, in the file's order of coefficients. */
function quantisationTables(segments: readonly Segment[]): Map<number, Uint16Array> {
  const tables = new Map<number, Uint16Array>();
  for (const { marker, data } of segments) {
    if (marker !== DQT) continue;
    for (let at = 0; at < data.length; ) {
      const [wide, number] = [data[at] >> 4 > 0, data[at] & 15];
      const bytes = data.subarray(at + 1, at + 1 + (wide ? 2 : 1) * COEFFICIENTS);
      tables.set(
        number,
        Uint16Array.from({ length: COEFFICIENTS }, (_, i) => (wide ? 256 * bytes[2 * i] + bytes[2 * i + 1] : bytes[i])),
      );
      at += 1 + bytes.length;
    }
  }
  return tables;
}

/** Whether the Huffman tables have a code for everything, as Annex K's do and those made for a picture do not. */
function hasAnnexKHuffmanTables(segments: readonly Segment[]): boolean {
  let all = true;
  for (const { marker, data } of segments) {
    if (marker !== DHT) continue;
    for (let at = 0; at < data.length; ) {
      const codes = data.subarray(at + 1, at + 17).reduce((total, count) => total + count, 0);
      all &&= codes === (data[at] >> 4 > 0 ? AC_CODES : DC_CODES);
      at += 17 + codes;
    }
  }
  return all;
}

/** What a file says beside its picture. */
export interface JpegMetadata {
  readonly exif?: Uint8Array | undefined;
  readonly xmp?: Uint8Array | undefined;
  readonly icc?: Uint8Array | undefined;
  /** Pixels a metre. */
  readonly resolution?: readonly [horizontal: number, vertical: number] | undefined;
}

/** What a file that `readJpegHeader` has accepted says beside its picture, for files of another format. */
export function jpegMetadata(bytes: Uint8Array): JpegMetadata {
  const segments = readSegments(bytes, ACCEPTED);
  const payload = (marker: number, name: string): Uint8Array | undefined =>
    segments.find((segment) => segment.marker === marker && begins(segment.data, name))?.data.subarray(name.length);
  const profile = segments.filter(({ marker, data }) => marker === APP2 && begins(data, ICC));
  const jfif = payload(APP0, 'JFIF\0');
  // Dots an inch, dots a centimetre.
  const perMetre = jfif && jfif.length >= 7 ? [0, 1 / 0.0254, 100][jfif[2]] : 0;
  return {
    exif: payload(APP1, EXIF),
    xmp: payload(APP1, XMP),
    icc:
      profile.length > 0
        ? concatBytes(
            profile
              .toSorted((a, b) => a.data[ICC.length] - b.data[ICC.length])
              .map(({ data }) => data.subarray(ICC.length + 2)),
          )
        : undefined,
    resolution:
      jfif && perMetre
        ? [Math.round((256 * jfif[3] + jfif[4]) * perMetre), Math.round((256 * jfif[5] + jfif[6]) * perMetre)]
        : undefined,
  };
}

/**
 * An encoded picture with what the original says beside its own: application segments and comments, byte for byte and in their
 * order. Left out is what would no longer be so: what tells how colours are coded, JFIF's previews, the list of pictures behind the
 * end marker (MPF), C2PA manifests, which are bound to the original's bytes, and a colour profile of inks.
 */
export function withJpegMetadata(encoded: Uint8Array, original: Uint8Array): Uint8Array {
  const segments = readSegments(original, ACCEPTED);
  const inks = frameOf(segments, ACCEPTED).components.length === 4;
  const isBeside = ({ marker }: Segment): boolean => (marker >= APP0 && marker <= APP15) || marker === COM;
  const isKept = ({ marker, data }: Segment): boolean => {
    if (marker === APP0) return begins(data, 'JFIF\0');
    if (marker === APP2) return !begins(data, 'MPF\0') && !(inks && begins(data, ICC));
    if (marker === APP11) return !begins(data, 'JP');
    return marker !== APP14;
  };
  const whole = (segment: Segment): Uint8Array =>
    concatBytes([
      Uint8Array.of(0xff, segment.marker, (segment.data.length + 2) >> 8, (segment.data.length + 2) & 0xff),
      segment.data,
      ...(segment.scan ? [segment.scan] : []),
    ]);
  return concatBytes([
    Uint8Array.of(0xff, SOI),
    ...segments.filter((segment) => isBeside(segment) && isKept(segment)).map(whole),
    ...readSegments(encoded, ACCEPTED)
      .filter((segment) => !isBeside(segment))
      .map(whole),
    Uint8Array.of(0xff, EOI),
  ]);
}

/** The frame header of a file that `readJpegHeader` has accepted. */
export const jpegFrame = (bytes: Uint8Array): JpegFrame => frameOf(readSegments(bytes, ACCEPTED), ACCEPTED);

/** Whether a frame is arithmetic-coded. */
export const isArithmetic = ({ marker }: JpegFrame): boolean => ARITHMETIC.includes(marker);

/** What the components mean by libjpeg's rules (jdapimin.c, default_decompress_parms). */
function jpegColours(segments: readonly Segment[]): JpegColours {
  const { components } = frameOf(segments, ACCEPTED);
  const transform = adobeTransform(segments);
  if (components.length === 1) return 'grey';
  if (components.length === 4) return transform === undefined || transform === 0 ? 'CMYK' : 'YCCK';
  if (beforeScans(segments).some(({ marker, data }) => marker === APP0 && data.length >= 14 && begins(data, 'JFIF\0')))
    return 'YCbCr';
  if (transform !== undefined) return transform === 0 ? 'RGB' : 'YCbCr';
  return components.map(({ id }) => String.fromCharCode(id)).join('') === 'RGB' ? 'RGB' : 'YCbCr';
}

/** Everything between the start and the end marker. */
function readSegments(bytes: Uint8Array, refuse: Refuse): Segment[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const truncated = (): never => refuse.damaged(`truncated: no end marker in its ${bytes.length} bytes`);
  const segments: Segment[] = [];
  for (let at = 2; ; ) {
    if (at + 2 > bytes.length) return truncated();
    if (bytes[at] !== 0xff) return refuse.damaged(`no marker at byte ${at}`);
    const marker = bytes[at + 1];
    if (marker === 0xff) {
      at++;
      continue;
    }
    at += 2;
    if (marker === EOI) return segments;
    if (marker === SOI) return refuse.damaged('two start markers');
    if (marker === 0x01) continue;
    if (at + 2 > bytes.length) return truncated();
    const end = at + view.getUint16(at);
    if (end > bytes.length) return truncated();
    if (end < at + 2) return refuse.damaged('a segment of no length');
    const data = bytes.subarray(at + 2, end);
    at = end;
    if (marker === SOS) {
      at = endOfScan(bytes, end);
      if (at < 0) return truncated();
      segments.push({ marker, data, scan: bytes.subarray(end, at) });
    } else {
      segments.push({ marker, data });
    }
  }
}

/** SOF0 to SOF15 without DHT (C4), JPG (C8) and DAC (CC). */
const isStartOfFrame = (marker: number): boolean =>
  marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc;

/** Where the next marker stands that ends compressed data: not FF 00, which is data, nor a restart. −1 where there is none. */
function endOfScan(bytes: Uint8Array, from: number): number {
  for (let at = bytes.indexOf(0xff, from); at >= 0 && at + 1 < bytes.length; at = bytes.indexOf(0xff, at)) {
    const next = bytes[at + 1];
    if (next === 0xff) at++;
    else if (next === 0 || (next >= 0xd0 && next <= 0xd7)) at += 2;
    else return at;
  }
  return -1;
}

function frameOf(segments: readonly Segment[], refuse: Refuse): JpegFrame {
  const frames = segments.filter(({ marker }) => isStartOfFrame(marker));
  if (frames.length > 1) return refuse.damaged('two frames');
  if (frames.length === 0 || !segments.some(({ scan }) => scan)) return refuse.damaged('no picture in it');
  const [{ marker, data }] = frames;
  if (data.length < 6 || data.length < 6 + 3 * data[5]) return refuse.damaged('a frame header cut short');
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  return {
    marker,
    bits: data[0],
    height: view.getUint16(1),
    width: view.getUint16(3),
    components: Array.from({ length: data[5] }, (_, i) => {
      const [id, sampling, table] = data.subarray(6 + 3 * i);
      return { id, horizontal: sampling >> 4, vertical: sampling & 15, table };
    }),
    scans: segments.filter(({ scan }) => scan).length,
  };
}

/** Whether the scans bring every coefficient of every component to its last bit (T.81, G.1.1.1). */
function isComplete(segments: readonly Segment[], { marker, components }: JpegFrame): boolean {
  const progressive = PROGRESSIVE.includes(marker);
  const missing = new Map(components.map(({ id }) => [id, new Int8Array(COEFFICIENTS).fill(-1)]));
  for (const { data, scan } of segments) {
    if (!scan) continue;
    const count = data[0];
    const [first, last, bits] = data.subarray(1 + 2 * count);
    for (let i = 0; i < count; i++) {
      const coefficients = missing.get(data[1 + 2 * i]);
      if (progressive) coefficients?.fill(bits & 15, first, last + 1);
      else coefficients?.fill(0);
    }
  }
  return [...missing.values()].every((coefficients) => coefficients.every((bits) => bits === 0));
}

/** Segments before the first scan, which alone say how it is to be read. */
const beforeScans = (segments: readonly Segment[]): readonly Segment[] =>
  segments.slice(
    0,
    segments.findIndex(({ scan }) => scan),
  );

/** The transform that Adobe's segment names: 0 none, 1 YCbCr, 2 YCCK; undefined without such a segment. */
const adobeTransform = (segments: readonly Segment[]): number | undefined =>
  beforeScans(segments).findLast(({ marker, data }) => marker === APP14 && data.length >= 12 && begins(data, 'Adobe'))
    ?.data[11];

/** A segment that says what components mean; Adobe's also says that inks are inverted, so it stays where it was. */
function colourSegment(segments: readonly Segment[], colours: JpegColours): Uint8Array {
  const adobe = (transform: number): Uint8Array =>
    Uint8Array.of(0xff, APP14, 0, 14, ...text('Adobe'), 0, 100, 0, 0, 0, 0, transform);
  if (colours === 'YCbCr') return Uint8Array.of(0xff, APP0, 0, 16, ...text('JFIF\0'), 1, 1, 0, 0, 1, 0, 1, 0, 0);
  if (colours === 'RGB') return adobe(0);
  if (colours === 'grey' || adobeTransform(segments) === undefined) return new Uint8Array(0);
  return adobe(colours === 'YCCK' ? 2 : 0);
}

const text = (characters: string): number[] => Array.from(characters, (character) => character.charCodeAt(0));

const begins = (data: Uint8Array, name: string): boolean => text(name).every((code, i) => data[i] === code);
