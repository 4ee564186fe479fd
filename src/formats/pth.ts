import { InputError } from '../errors.ts';
import { foreignFile } from './foreign.ts';
import { PickledObject, type PickleOptions, type PickleValue, readPickle } from './pickle.ts';
import { DTYPE_BYTES, MOST_TENSORS, type SafetensorsDtype, type SafetensorsTensor } from './safetensors.ts';
import { elementCount, isCount } from './shape.ts';
import { isZip, readZip, type ZipEntry } from './zip.ts';

/** What {@link parsePth} finds in a file. */
export interface PthFile {
  /** How it is stored: a zip archive, or as PyTorch did before 1.6. */
  readonly container: 'zip' | 'legacy';
  /** The key of the checkpoint that holds the state dict; null where the file is one. */
  readonly entry: string | null;
  /** The state dict in its order. Data of a contiguous tensor are a view of the file's bytes. */
  readonly tensors: ReadonlyMap<string, SafetensorsTensor>;
  /** What a checkpoint holds beside it: values that are short, kinds of others. */
  readonly beside: Readonly<Record<string, string>>;
}

/** Names that files of PyTorch have, whatever their first bytes say. */
export const PTH_EXTENSION = /\.(pth|pt|ckpt|bin|tar)$/i;
/** How a file of PyTorch before 1.6 begins, after the protocol and, from protocol 4 on, the length of a frame: a pickle of this number. */
const LEGACY_MAGIC = 0x1950a86a20f9469cfc6cn;
const LEGACY_BEGINNING = [0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const LEGACY_PROTOCOL = 1001;
/** Bounds the memory of what a pickle holds. */
const MAX_PICKLE_BYTES = 2 ** 26;
const MAX_DIMENSIONS = 16;

const STORAGE_TYPES: Readonly<Record<string, SafetensorsDtype>> = {
  FloatStorage: 'F32',
  HalfStorage: 'F16',
  BFloat16Storage: 'BF16',
  DoubleStorage: 'F64',
  LongStorage: 'I64',
  IntStorage: 'I32',
  ShortStorage: 'I16',
  CharStorage: 'I8',
  ByteStorage: 'U8',
  BoolStorage: 'BOOL',
  UntypedStorage: 'U8',
};

/** Classes that checkpoints have values of, which no state dict needs: such values are remembered, not made. */
const UNNEEDED = [
  'argparse.Namespace',
  'types.SimpleNamespace',
  'numpy.core.multiarray.scalar',
  'numpy._core.multiarray.scalar',
  'numpy.dtype',
  '_codecs.encode',
  'collections.Counter',
  'builtins.set',
  '__builtin__.set',
  'builtins.list',
  '__builtin__.list',
  'builtins.object',
  '__builtin__.object',
  'copyreg._reconstructor',
  'copy_reg._reconstructor',
  'torch.device',
  'collections.deque',
  'datetime.date',
  'datetime.datetime',
  'datetime.time',
  'datetime.timedelta',
  'datetime.timezone',
];
/** Arrays and generators of random numbers, of any version. */
const NUMPY = /^numpy\.(?:ndarray|(?:_?core|random)(?:\.\w+)*\.\w+)$/;
/** A class, by the convention for their names: of a configuration, a path, a checkpoint's own. */
const CLASS = /^[A-Za-z_]\w*(?:\.\w+)*\._?[A-Z]\w*$/;
/** What no configuration is made with. Nothing is run here in any case; a file that names these is not what it says. */
const NEVER_NEEDED =
  /^(?:os|posix|nt|subprocess|sys|builtins|__builtin__|torch|types|code|codeop|ctypes|importlib|imp|runpy|pkgutil|pty|socket|ssl|shutil|multiprocessing|threading|_thread|asyncio|concurrent|pickle|_pickle|marshal|shelve|dill|cloudpickle|joblib|operator|functools|inspect|gc|signal|tempfile|zipfile|tarfile|urllib|http|ftplib|smtplib|webbrowser|requests|pip|setuptools|distutils|pdb|bdb|cProfile|profile|timeit|trace|unittest|doctest)\./;
const TORCH_DTYPE = /^torch\.(float|double|half|bfloat|int|uint|long|short|bool|complex)\w*$/;

/** What a name in a pickle stands for here. */
class Name {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

/** Numbers that tensors share. */
class Storage {
  readonly key: string;
  readonly dtype: SafetensorsDtype;
  readonly elements: number;
  constructor(key: string, dtype: SafetensorsDtype, elements: number) {
    this.key = key;
    this.dtype = dtype;
    this.elements = elements;
  }
}

class StoredTensor {
  readonly storage: Storage;
  readonly offset: number;
  readonly shape: readonly number[];
  readonly stride: readonly number[];
  constructor(storage: Storage, offset: number, shape: readonly number[], stride: readonly number[]) {
    this.storage = storage;
    this.offset = offset;
    this.shape = shape;
    this.stride = stride;
  }
}

/** Whether bytes are of a file that torch.save wrote, as far as their beginning tells. */
export function isPth(bytes: Uint8Array): boolean {
  return isZip(bytes) || isLegacy(bytes);
}

const isLegacy = (bytes: Uint8Array): boolean =>
  bytes[0] === 0x80 && [2, 11].some((at) => LEGACY_BEGINNING.every((byte, i) => bytes[at + i] === byte));

/** A tar archive that begins with a member of those that PyTorch put there before 0.1.10. */
const isOldArchive = (bytes: Uint8Array): boolean =>
  /^(?:\.\/)?(?:sys_info|pickle|storages|tensors)\0/.test(new TextDecoder('latin1').decode(bytes.subarray(0, 100))) &&
  new TextDecoder().decode(bytes.subarray(257, 262)) === 'ustar';

/**
 * Reads the weights out of a file of torch.save: a state dict, or a checkpoint that holds one under a name of its own. Nothing in the
 * file is executed: its pickle is read by a machine that knows tensors, dictionaries and values, and refuses the rest.
 *
 * @throws InputError if the file is damaged in any way, or asks for anything that no state dict needs, or holds a whole module, a
 * program or no state dict.
 */
export async function parsePth(bytes: Uint8Array, fileName: string): Promise<PthFile> {
  if (isZip(bytes)) return await parseZip(bytes, fileName);
  if (isLegacy(bytes)) return await parseLegacy(bytes, fileName);
  if (isOldArchive(bytes))
    throw new InputError(`${fileName}: written by PyTorch before 0.1.10; load and save it with a later one`);
  const foreign = foreignFile(bytes);
  throw new InputError(
    foreign
      ? `${fileName}: ${foreign.what}, not weights; ${foreign.cure}`
      : `${fileName}: not a file of torch.save; save or download it again`,
  );
}

async function parseZip(bytes: Uint8Array, fileName: string): Promise<PthFile> {
  const fail = failure(fileName);
  const entries = readZip(bytes, fileName);
  const pickles = [...entries.keys()].filter((name) => /^(?:[^/]+\/)?data\.pkl$/.test(name));
  if (pickles.length !== 1) return fail('a zip archive, but not of torch.save', 'give the file that torch.save wrote');
  const root = pickles[0].slice(0, -'data.pkl'.length);
  if (entries.has(`${root}constants.pkl`))
    return fail('a TorchScript program, not weights', 'save its state_dict() with torch.save');
  if (entries.get(`${root}data.pkl`)!.size > MAX_PICKLE_BYTES)
    return fail(`its pickle is larger than ${MAX_PICKLE_BYTES} bytes`);
  const byteOrder = await entries.get(`${root}byteorder`)?.read();
  if (byteOrder && new TextDecoder().decode(byteOrder) !== 'little')
    return fail('written by a big-endian machine', 'load and save it on another');

  const pickle = await entries.get(`${root}data.pkl`)!.read();
  const { value, end } = readPickle(pickle, 0, pickleOptions(fileName, new Map()));
  if (end !== pickle.length) return fail('damaged: its pickle has more after its end');
  const found = findStateDict(value, fail);
  const read = async ({ key, dtype, elements }: Storage): Promise<Uint8Array> => {
    const entry: ZipEntry | undefined = entries.get(`${root}data/${key}`);
    const size = elements * DTYPE_BYTES[dtype];
    if (!entry) return fail(`damaged: the storage ${quote(key)} is missing`);
    if (entry.size !== size)
      return fail(`damaged: the storage ${quote(key)} has ${entry.size} bytes, its ${elements} ${dtype} need ${size}`);
    return await entry.read();
  };
  return { container: 'zip', ...found, tensors: await readTensors(found.tensors, read, bytes.length, fileName) };
}

/** Pickles one after another: a magic number, a protocol, the sizes of numbers, the value, the keys of its storages; then these. */
async function parseLegacy(bytes: Uint8Array, fileName: string): Promise<PthFile> {
  const fail = failure(fileName);
  const storages = new Map<string, Storage>();
  let at = 0;
  const next = (): PickleValue => {
    const { value, end } = readPickle(bytes, at, pickleOptions(fileName, storages));
    at = end;
    return value;
  };
  if (next() !== LEGACY_MAGIC || next() !== LEGACY_PROTOCOL) return fail('damaged: not how PyTorch begins its files');
  const system = next();
  if (!(system instanceof Map) || system.get('little_endian') !== true)
    return fail('written by a big-endian machine', 'load and save it on another');
  const value = next();
  const keys = next();
  if (!Array.isArray(keys)) return fail('damaged: the list of its storages is none');
  const places = new Map<string, Uint8Array>();
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (const key of keys) {
    const storage = typeof key === 'string' ? storages.get(key) : undefined;
    if (!storage || places.has(storage.key))
      return fail(`damaged: no tensor has the storage ${describe(key)}, or it comes twice`);
    const size = storage.elements * DTYPE_BYTES[storage.dtype];
    if (at + 8 + size > bytes.length)
      return fail(
        `truncated: the storage ${quote(storage.key)} ends at byte ${at + 8 + size} of the file, which has ${bytes.length}`,
      );
    const elements = view.getBigInt64(at, true);
    if (elements !== BigInt(storage.elements))
      return fail(
        `damaged: the storage ${quote(storage.key)} has ${elements} elements, its tensors say ${storage.elements}`,
      );
    places.set(storage.key, bytes.subarray(at + 8, at + 8 + size));
    at += 8 + size;
  }
  if (at !== bytes.length) return fail(`${bytes.length - at} bytes after its last storage belong to none`);
  const found = findStateDict(value, fail);
  const read = async ({ key }: Storage): Promise<Uint8Array> =>
    places.get(key) ?? fail(`damaged: the storage ${quote(key)} is missing`);
  return { container: 'legacy', ...found, tensors: await readTensors(found.tensors, read, bytes.length, fileName) };
}

type Fail = (what: string, cure?: string) => never;

const failure =
  (fileName: string): Fail =>
  (what, cure = 'save or download it again') => {
    throw new InputError(`${fileName}: ${what}; ${cure}`);
  };

/** A name for a one-line message, however long or odd it is. */
const quote = (name: string): string => JSON.stringify(name.length > 100 ? `${name.slice(0, 100)}…` : name);

/** Whether values of a class are remembered, not made. */
const isRemembered = (name: string): boolean =>
  UNNEEDED.includes(name) || (name.length <= 200 && !NEVER_NEEDED.test(name) && (NUMPY.test(name) || CLASS.test(name)));

/** What a pickle of torch.save may say, and what it means. Storages are collected in `storages`, by their keys. */
function pickleOptions(fileName: string, storages: Map<string, Storage>): PickleOptions {
  const fail = failure(fileName);
  const calls: Readonly<Record<string, (args: readonly PickleValue[]) => PickleValue | undefined>> = {
    'collections.OrderedDict': ([items = []]) => dictionary(items),
    'collections.defaultdict': () => new Map(),
    'torch._utils._rebuild_tensor': (args) => rebuildTensor(args, fail),
    'torch._utils._rebuild_tensor_v2': (args) => rebuildTensor(args, fail),
    'torch._utils._rebuild_parameter': ([tensor]) => tensor,
    'torch.Size': ([sizes]) => sizes,
  };
  const known = new Set([
    ...Object.keys(calls),
    ...Object.keys(STORAGE_TYPES).map((type) => `torch.${type}`),
    'torch.storage.UntypedStorage',
  ]);
  return {
    fileName,
    global: (name) => {
      if (name.startsWith('torch.nn.'))
        return fail('holds a whole module, whose code would be needed', 'save model.state_dict() instead of the model');
      return known.has(name) || TORCH_DTYPE.test(name) || isRemembered(name) ? new Name(name) : undefined;
    },
    call: (callee, args) => {
      if (!(callee instanceof Name)) return undefined;
      if (Object.hasOwn(calls, callee.text)) return calls[callee.text](args);
      return isRemembered(callee.text) ? new PickledObject(callee.text, args) : undefined;
    },
    reference: (id) => {
      const storage = storageOf(id, fail);
      const same = storages.get(storage.key);
      if (same && (same.dtype !== storage.dtype || same.elements !== storage.elements))
        fail(`damaged: the storage ${quote(storage.key)} is described in two ways`);
      storages.set(storage.key, same ?? storage);
      return same ?? storage;
    },
  };
}

function dictionary(items: PickleValue): PickleValue | undefined {
  if (!Array.isArray(items) || !items.every((item) => Array.isArray(item) && item.length === 2)) return undefined;
  return new Map(items as [PickleValue, PickleValue][]);
}

/** ('storage', type, key, place, elements), and for old files a view, which would be of a part. */
function storageOf(id: PickleValue, fail: Fail): Storage {
  const [kind, type, key, , elements, part] = Array.isArray(id) ? id : [];
  if (kind === 'module')
    return fail('holds a whole module, whose code would be needed', 'save model.state_dict() instead of the model');
  const dtype = type instanceof Name ? STORAGE_TYPES[type.text.replace(/^.*\./, '')] : undefined;
  if (kind !== 'storage' || dtype === undefined || typeof key !== 'string' || !isCount(elements))
    return fail('damaged: it describes a storage in an unknown way');
  if (part !== undefined && part !== null)
    return fail('has a storage that is a part of another', 'load and save it with a later PyTorch');
  return new Storage(key, dtype, elements);
}

/** (storage, offset, sizes, strides, …), offset and strides in elements. */
function rebuildTensor([storage, offset, shape, stride]: readonly PickleValue[], fail: Fail): StoredTensor {
  const counts = (value: unknown): value is number[] =>
    Array.isArray(value) && value.length <= MAX_DIMENSIONS && value.every(isCount);
  if (
    !(storage instanceof Storage) ||
    !isCount(offset) ||
    !counts(shape) ||
    !counts(stride) ||
    shape.length !== stride.length
  )
    return fail('damaged: it describes a tensor in an unknown way');
  const count = elementCount(shape);
  const last = offset + shape.reduce((sum, size, axis) => sum + (size - 1) * stride[axis], 0);
  // As many elements as the storage at most: none are repeated.
  if (count === undefined || count > storage.elements || (count > 0 && !(last < storage.elements)))
    return fail(
      `damaged: a tensor [${shape}] with strides [${stride}] from element ${offset} on is not in its storage of ${storage.elements}`,
    );
  return new StoredTensor(storage, offset, shape, stride);
}

/** Names of the state dict in a checkpoint, of several the first. */
const USUAL_ENTRIES = ['state_dict', 'model', 'model_state_dict', 'model_state', 'net', 'network'];

/** What a tensor is called that was saved by itself. */
const BARE_TENSOR = 'tensor';
/** Dictionaries in each other that are looked through for a state dict. */
const MOST_DEPTH = 3;

interface FoundStateDict {
  readonly entry: string | null;
  readonly tensors: Map<string, StoredTensor>;
  readonly beside: Readonly<Record<string, string>>;
}

/**
 * The state dict itself, or the one in a checkpoint. Values in a state dict that are no tensors, as `_extra_state` or a number of
 * epochs, are told beside it.
 */
function findStateDict(value: PickleValue, fail: Fail): FoundStateDict {
  // Many keys may hold the same dictionary: each is looked through once.
  const verdicts = new Map<PickleValue, boolean>();
  const isStateDict = (entry: PickleValue): entry is Map<string, PickleValue> => {
    const found = verdicts.get(entry) ?? holdsTensors(entry);
    verdicts.set(entry, found);
    return found;
  };
  const cure = 'save model.state_dict() with torch.save';
  const names = (keys: readonly unknown[]): string =>
    keys
      .slice(0, 8)
      .map((key) => describe(key, false))
      .join(', ');
  const searched = new Set<PickleValue>();
  const search = (from: PickleValue, path: readonly string[]): FoundStateDict | undefined => {
    if (!(from instanceof Map) || searched.has(from)) return undefined;
    searched.add(from);
    const candidates = [...from].filter(([key, entry]) => typeof key === 'string' && isStateDict(entry)) as [
      string,
      Map<string, PickleValue>,
    ][];
    const usual = USUAL_ENTRIES.map((name) => candidates.find(([key]) => key === name)).find((found) => found);
    const chosen = usual ?? (candidates.length === 1 ? candidates[0] : undefined);
    if (!chosen && candidates.length > 1 && !isStateDict(from))
      return fail(`holds several state dicts: ${names(candidates.map(([key]) => key))}`, 'save the one to use alone');
    // Of a state dict a part may be a dictionary too.
    const isWhole = isStateDict(from) && (!chosen || tensorsOf(from).length > tensorsOf(chosen[1]).length);
    if (isWhole) return stateDictOf(from, path);
    if (chosen) return stateDictOf(chosen[1], [...path, chosen[0]], from);
    if (path.length === MOST_DEPTH) return undefined;
    const within = [...from].filter(
      ([key, entry]) => typeof key === 'string' && entry instanceof Map && entry !== from,
    );
    if (within.length === 0 || within.length > MOST_WITHIN) return undefined;
    const found = within.flatMap(([key, entry]) => search(entry, [...path, key as string]) ?? []);
    if (found.length > 1)
      return fail(
        `holds several state dicts: ${found.map(({ entry }) => entry).join(', ')}`,
        'save the one to use alone',
      );
    return found[0];
  };
  if (value instanceof StoredTensor) return { entry: null, tensors: new Map([[BARE_TENSOR, value]]), beside: {} };
  if (!(value instanceof Map)) return fail(`holds ${describe(value)}, no state dict`, cure);
  return search(value, []) ?? fail(`holds no state dict but ${names([...value.keys()]) || 'nothing'}`, cure);
}

/** Dictionaries of a checkpoint that are looked into where none of them is a state dict. */
const MOST_WITHIN = 8;

function stateDictOf(
  found: Map<string, PickleValue>,
  path: readonly string[],
  checkpoint?: Map<PickleValue, PickleValue>,
): FoundStateDict {
  const tensors = new Map<string, StoredTensor>();
  const beside: [string, string][] = [];
  for (const [key, entry] of checkpoint ?? []) if (key !== path.at(-1)) beside.push([plainName(key), describe(entry)]);
  for (const [key, entry] of found) {
    if (entry instanceof StoredTensor) tensors.set(key, entry);
    else beside.push([plainName(key), describe(entry)]);
  }
  return {
    entry: path.length === 0 ? null : path.join('.'),
    tensors,
    beside: Object.fromEntries(beside) as Record<string, string>,
  };
}

/** Whether a dictionary holds tensors by name, whatever is beside them. */
function holdsTensors(value: PickleValue): boolean {
  if (!(value instanceof Map)) return false;
  for (const key of value.keys()) if (typeof key !== 'string') return false;
  return tensorsOf(value).length > 0;
}

const tensorsOf = (value: Map<PickleValue, PickleValue>): StoredTensor[] =>
  [...value.values()].filter((entry) => entry instanceof StoredTensor);

/** A value in a few words; what lies deeper than one level only by its kind. */
function describe(value: PickleValue, deep = true): string {
  if (value === null || typeof value === 'boolean' || typeof value === 'number' || typeof value === 'bigint')
    return String(value);
  if (typeof value === 'string') return quote(value);
  if (value instanceof StoredTensor) return `a tensor [${value.shape}]`;
  if (value instanceof PickledObject)
    return value.state instanceof Map && deep ? `${value.className} ${describe(value.state)}` : value.className;
  if (value instanceof Name) return value.text;
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (!(value instanceof Map)) return 'a value';
  if (!deep || value.size > 8) return `a dictionary of ${value.size}`;
  return `{${[...value].map(([key, entry]) => `${plainName(key)}: ${describe(entry, false)}`).join(', ')}}`;
}

/** A key of a dictionary in a description. */
const plainName = (key: PickleValue): string =>
  typeof key === 'string' && /^\w{1,100}$/.test(key) ? key : describe(key, false);

/** The tensors with their data, each storage read once. */
async function readTensors(
  stored: ReadonlyMap<string, StoredTensor>,
  read: (storage: Storage) => Promise<Uint8Array>,
  fileBytes: number,
  file: string,
): Promise<Map<string, SafetensorsTensor>> {
  if (stored.size > MOST_TENSORS) failure(file)(`has ${stored.size} tensors, the limit is ${MOST_TENSORS}`);
  const storages = new Map<Storage, Uint8Array>();
  const tensors = new Map<string, SafetensorsTensor>();
  let copied = 0;
  for (const [name, { storage, offset, shape, stride }] of stored) {
    const whole = storages.get(storage) ?? (await read(storage));
    storages.set(storage, whole);
    const elementBytes = DTYPE_BYTES[storage.dtype];
    const size = elementCount(shape)! * elementBytes;
    const contiguous = isContiguous(shape, stride);
    if (!contiguous) copied += size;
    // Tensors that share a storage could otherwise be copies of it without end.
    if (copied > 4 * fileBytes)
      failure(file)('has overlapping tensors that need more than four times the file', 'save contiguous tensors');
    const data = contiguous
      ? whole.subarray(offset * elementBytes, offset * elementBytes + size)
      : gather(whole, elementBytes, offset, shape, stride);
    tensors.set(name, { file, name, dtype: storage.dtype, shape, data });
  }
  return tensors;
}

/** Whether the elements lie one after another in row-major order; strides of axes of one element do not matter. */
function isContiguous(shape: readonly number[], stride: readonly number[]): boolean {
  if (shape.includes(0)) return true;
  let expected = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && stride[axis] !== expected) return false;
    expected *= shape[axis];
  }
  return true;
}

/** Elements in row-major order, wherever they lie. */
function gather(
  whole: Uint8Array,
  elementBytes: number,
  offset: number,
  shape: readonly number[],
  stride: readonly number[],
): Uint8Array {
  const data = new Uint8Array(elementCount(shape)! * elementBytes);
  const index = shape.map(() => 0);
  let from = offset;
  for (let to = 0; to < data.length; to += elementBytes) {
    for (let byte = 0; byte < elementBytes; byte++) data[to + byte] = whole[from * elementBytes + byte];
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      from += stride[axis];
      if (++index[axis] < shape[axis]) break;
      from -= shape[axis] * stride[axis];
      index[axis] = 0;
    }
  }
  return data;
}
