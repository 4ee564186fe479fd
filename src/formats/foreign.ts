/** Files of other kinds under a name that promises something else: what they are, and what to do. */

/** What a file is instead of what was wanted. */
export interface ForeignFile {
  /** Like `a Git LFS pointer, not the file itself`. */
  readonly what: string;
  readonly cure: string;
  /** The file that is meant is somewhere else: the cure holds whatever was wanted. */
  readonly elsewhere?: boolean;
}

interface Known extends ForeignFile {
  readonly matches: (bytes: Uint8Array) => boolean;
}

/** Bytes of a file that {@link foreignFile} looks at. */
export const FOREIGN_BYTES = 512;

const DOWNLOAD = 'download the file itself: this is what a server said instead';
const EXPORT = 'save the state dict in PyTorch with torch.save, or as safetensors';
const UNPACK = 'unpack it first';

/** By what they begin with; of several that fit the first counts. */
const KNOWN: readonly Known[] = [
  { what: 'an empty file', cure: 'restore or download it again', matches: (bytes) => bytes.length === 0 },
  {
    what: 'a Git LFS pointer, not the file itself',
    cure: 'fetch the file with: git lfs pull',
    elsewhere: true,
    matches: begins('version https://git-lfs.github.com/spec/'),
  },
  {
    what: 'a git-annex pointer, not the file itself',
    cure: 'fetch the file with: git annex get',
    elsewhere: true,
    matches: begins('/annex/objects/'),
  },
  { what: 'a web page', cure: DOWNLOAD, elsewhere: true, matches: beginsAnyCase('<!doctype html', '<html') },
  { what: 'XML', cure: DOWNLOAD, matches: beginsAnyCase('<?xml') },
  {
    what: 'the index of weights in several files',
    cure: 'join the files it lists, or save the state dict as one file',
    matches: (bytes) => /^\s*\{/.test(text(bytes)) && /"(weight_map|total_size)"/.test(text(bytes)),
  },
  { what: 'JSON', cure: 'give the file of weights', matches: (bytes) => /^\s*[{[]\s*["{[\]}\d]/.test(text(bytes)) },
  { what: 'a GGUF file, of llama.cpp', cure: EXPORT, matches: begins('GGUF') },
  {
    what: 'an HDF5 file, as Keras writes them',
    cure: `${EXPORT}; of another network give its features with --suspect-features`,
    matches: begins('\x89HDF\r\n\x1a\n'),
  },
  { what: 'a NumPy array', cure: EXPORT, matches: begins('\x93NUMPY') },
  { what: 'a TensorFlow Lite model', cure: EXPORT, matches: (bytes) => begins('TFL3')(bytes.subarray(4)) },
  {
    // The version of the format, and the name of what wrote it (onnx.proto, fields 1 and 2).
    what: 'an ONNX model',
    cure: EXPORT,
    matches: (bytes) =>
      bytes[0] === 0x08 && bytes[2] === 0x12 && /^[\w.-]+$/.test(text(bytes.subarray(4, 4 + bytes[3]))),
  },
  { what: 'a gzip archive', cure: UNPACK, matches: begins('\x1f\x8b') },
  { what: 'an xz archive', cure: UNPACK, matches: begins('\xfd7zXZ\0') },
  { what: 'a bzip2 archive', cure: UNPACK, matches: begins('BZh') },
  { what: 'a Zstandard archive', cure: UNPACK, matches: begins('\x28\xb5\x2f\xfd') },
  { what: 'a 7z archive', cure: UNPACK, matches: begins('7z\xbc\xaf\x27\x1c') },
  { what: 'a RAR archive', cure: UNPACK, matches: begins('Rar!') },
  { what: 'a tar archive', cure: UNPACK, matches: (bytes) => begins('ustar')(bytes.subarray(257)) },
  { what: 'a PDF document', cure: DOWNLOAD, matches: begins('%PDF') },
];

/** What bytes are of that is neither weights nor an image that is read; undefined where nothing known fits. */
export function foreignFile(bytes: Uint8Array): ForeignFile | undefined {
  const head = bytes.subarray(0, FOREIGN_BYTES);
  return KNOWN.find(({ matches }) => matches(head));
}

function begins(wanted: string): (bytes: Uint8Array) => boolean {
  return (bytes) => Array.from(wanted).every((character, i) => bytes[i] === character.charCodeAt(0));
}

function beginsAnyCase(...wanted: readonly string[]): (bytes: Uint8Array) => boolean {
  return (bytes) => {
    const beginning = text(bytes).trimStart().toLowerCase();
    return wanted.some((each) => beginning.startsWith(each));
  };
}

const text = (bytes: Uint8Array): string => new TextDecoder('utf-8').decode(bytes);
