/**
 * Weights under the names of other projects: what wrappers put before or into the names of a network, layers that have other names,
 * and what stands beside the network. Names alone are changed, and shapes are checked afterwards as they are for any file.
 */

import { InputError } from '../errors.ts';
import type { SafetensorsDtype, SafetensorsTensor } from '../formats/safetensors.ts';
import { elementCount } from '../formats/shape.ts';
import type { Network } from './network.ts';
import type { ParameterSpec } from './recorder.ts';

type Tensors = ReadonlyMap<string, SafetensorsTensor>;

/** A state dict understood as a network's, whether or not all of it fits. */
export interface Reading {
  /** By torchvision's names; what has no place in the network under its own. */
  readonly tensors: Tensors;
  /** What stands before all of the network's names in the file. */
  readonly prefix: string;
  /** What was done to the names and what was left out, for the user to see. */
  readonly notes: readonly string[];
  /** Of a layer that normalises the images. */
  readonly mean?: Normaliser;
  readonly std?: Normaliser;
}

/** What a layer subtracts from pixels scaled to 0–1, or divides them by. */
export interface Normaliser {
  /** Its name in the file. */
  readonly name: string;
  /** By channel. */
  readonly values: readonly number[];
}

/** torch.compile, FSDP, activation checkpointing and Lightning's strategies put these before the names of any module. */
const WRAPPERS = /(?<=^|\.)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module)\./g;
/** Names of the network itself, where a file holds others beside it: averages, teachers. */
const USUAL = /(?:^|\.)(?:module|model|net|network|backbone)\.$/;
/** Modules that only training needs: losses and their weights, metrics. */
const TRAINING_ONLY =
  /(?:^|\.)(?:\w*criterion\w*|\w*loss\w*|\w*metrics?|(?:train|val|valid|test)_(?:acc\w*|auroc|f1))\./i;
const NORMALISER = /(?:^|\.)normali[sz](?:er?|ation)\.(?:new_)?(mean|std)$/;
const WHOLE_NUMBERS: ReadonlySet<SafetensorsDtype> = new Set([
  'BOOL',
  'U8',
  'I8',
  'I16',
  'U16',
  'I32',
  'U32',
  'I64',
  'U64',
]);

/** Bounds the work on hostile files; a network, an average and a teacher are three. */
const MOST_PREFIXES = 8;
/** Parts of a name that a network's first layer has, in any project. */
const MOST_PARTS = 6;

/**
 * The ways to understand a state dict as a network's: one for each place in it where the network may begin.
 *
 * @param specs the network's tensors; their names must be right, their shapes need not be
 * @param numbers the values of a tensor
 */
export function readingsOf(
  network: Network,
  specs: readonly ParameterSpec[],
  stored: Tensors,
  numbers: (tensor: SafetensorsTensor) => readonly number[],
): Reading[] {
  const { names, notes } = withoutWrappers(stored);
  const prefixes = prefixesOf(network, names);
  return prefixes.map((prefix) => {
    const rest = prefixes.filter((other) => other !== '' && other !== prefix && !prefix.startsWith(other));
    return readingOf({ network, specs, names, prefix, rest, notes, numbers });
  });
}

/** Of readings that all fit, the one that is meant. Throws InputError where the file does not tell. */
export function chooseReading(fitting: readonly Reading[], file: string): Reading {
  const usual = fitting.filter(({ prefix }) => prefix === '' || USUAL.test(prefix));
  const [first, ...others] = usual.length > 0 ? usual : fitting;
  if (others.every((other) => sameWeights(first, other))) return first;
  const places = [first, ...others].map(({ prefix }) => prefix || 'no prefix');
  throw new InputError(`${file}: holds several networks, under ${places.join(', ')}; save the one to use alone`);
}

function sameWeights(a: Reading, b: Reading): boolean {
  return [...a.tensors].every(([name, { data }]) => equal(data, b.tensors.get(name)?.data));
}

const equal = (a: Uint8Array, b: Uint8Array | undefined): boolean =>
  a.length === b?.length && a.every((byte, i) => byte === b[i]);

function withoutWrappers(stored: Tensors): { names: Map<string, SafetensorsTensor>; notes: string[] } {
  const found = new Set<string>();
  const names = new Map<string, SafetensorsTensor>();
  for (const [name, tensor] of stored) {
    const plain = name.replace(WRAPPERS, (wrapper) => {
      found.add(wrapper);
      return '';
    });
    names.set(names.has(plain) ? name : plain, tensor);
  }
  return { names, notes: found.size > 0 ? [`names without ${[...found].join(', ')}`] : [] };
}

/** A name as torchvision has it, and whose it was. */
function aliased({ aliases = [] }: Network, name: string): { name: string; of: Set<string> } {
  const of = new Set<string>();
  let changed = name;
  for (const { pattern, to, project } of aliases) {
    const next = changed.replace(pattern, to);
    if (next !== changed) of.add(project);
    changed = next;
  }
  return { name: changed, of };
}

/** Where the network may begin: before everything, and wherever its first layer is, with enough behind. */
function prefixesOf(network: Network, names: Tensors): string[] {
  const first = `${network.first}.weight`;
  const found = new Set<string>();
  for (const name of names.keys()) {
    const parts = name.split('.');
    for (let from = Math.max(1, parts.length - MOST_PARTS); from < parts.length; from++)
      if (aliased(network, parts.slice(from).join('.')).name === first) found.add(`${parts.slice(0, from).join('.')}.`);
  }
  const sizes = [...found].slice(0, 1000).map((prefix) => {
    let size = 0;
    for (const name of names.keys()) if (name.startsWith(prefix)) size++;
    return { prefix, size };
  });
  const large = sizes.filter(({ size }) => size >= names.size / 5).sort((a, b) => b.size - a.size);
  return ['', ...large.slice(0, MOST_PREFIXES).map(({ prefix }) => prefix)];
}

interface Place {
  readonly network: Network;
  readonly specs: readonly ParameterSpec[];
  readonly names: Tensors;
  readonly prefix: string;
  /** Where other networks of the kind may begin. */
  readonly rest: readonly string[];
  readonly notes: readonly string[];
  readonly numbers: (tensor: SafetensorsTensor) => readonly number[];
}

function readingOf({ network, specs, names, prefix, rest, notes: before, numbers }: Place): Reading {
  const known = new Map(specs.map((spec) => [spec.name, spec]));
  const isKnown = (name: string): boolean => known.has(name) || name.endsWith('.num_batches_tracked');
  const tensors = new Map<string, SafetensorsTensor>();
  const others = new Map<string, SafetensorsTensor>();
  const relative: string[] = [];
  const projects = new Set<string>();
  const notes = prefix ? [`names without ${prefix}`, ...before] : [...before];
  for (const [stored, tensor] of names) {
    const own = stored.slice(prefix.length);
    const { name, of } = isKnown(own) ? { name: own, of: [] } : aliased(network, own);
    if (stored.startsWith(prefix) && isKnown(name) && !tensors.has(name)) {
      tensors.set(name, tensor);
      relative.push(own);
      for (const project of of) projects.add(project);
    } else others.set(stored, tensor);
  }
  if (projects.size > 0) notes.push(`names of ${[...projects].join(', ')}`);

  // The same network once more, such as an average of its weights: all of its names are there, elsewhere.
  for (const other of rest) {
    const copies = relative.map((name) => other + name);
    if (relative.length === 0 || !copies.every((name) => others.has(name))) continue;
    const same = relative.every((name) => equal(names.get(prefix + name)!.data, names.get(other + name)!.data));
    notes.push(`${same ? 'the same' : 'other'} weights under ${other} left out`);
    for (const name of copies) others.delete(name);
  }

  const normaliser: { mean?: Normaliser; std?: Normaliser } = {};
  for (const [name, tensor] of others) {
    const kind = NORMALISER.exec(name)?.[1] as 'mean' | 'std' | undefined;
    const values = kind && !WHOLE_NUMBERS.has(tensor.dtype) && tensor.data.length < 100 ? numbers(tensor) : [];
    // Of pixels in 0–255 a mean would be larger.
    if (!kind || values.length === 0 || values.some((value) => !(value >= 0 && value <= 1))) continue;
    normaliser[kind] ??= { name, values };
    others.delete(name);
  }

  const head = `${network.head}.weight`;
  if (!tensors.has(head)) {
    const matrices = [...others].filter(([name, tensor]) => name.endsWith('.weight') && isMatrix(tensor));
    // With more than one it is no last layer alone.
    if (matrices.length === 1) {
      const [[name, tensor]] = matrices;
      const layer = name.slice(0, -'.weight'.length);
      const bias = others.get(`${layer}.bias`);
      tensors.set(head, tensor);
      if (bias) tensors.set(`${network.head}.bias`, bias);
      others.delete(name);
      others.delete(`${layer}.bias`);
      notes.push(`last layer ${layer}`);
    }
  }
  const weight = tensors.get(head);
  if (weight && !tensors.has(`${network.head}.bias`)) {
    tensors.set(`${network.head}.bias`, zeros(`${network.head}.bias`, weight));
    notes.push('no bias in the last layer');
  }

  const leftOut = [...others].filter(([name, { dtype }]) => WHOLE_NUMBERS.has(dtype) || TRAINING_ONLY.test(name));
  for (const [name] of leftOut) others.delete(name);
  if (leftOut.length > 0) {
    const more = leftOut.length > 4 ? ` and ${leftOut.length - 4} more` : '';
    notes.push(
      `without ${leftOut
        .slice(0, 4)
        .map(([name]) => name)
        .join(', ')}${more}`,
    );
  }
  for (const [name, tensor] of tensors) {
    const spec = known.get(name);
    if (spec?.kind === 'linear') tensors.set(name, asMatrix(tensor));
  }
  return { tensors: new Map([...tensors, ...others]), prefix, notes, ...normaliser };
}

/** A linear layer's weight, or that of a convolution of one pixel, which is the same. */
const isMatrix = ({ shape, dtype }: SafetensorsTensor): boolean =>
  !WHOLE_NUMBERS.has(dtype) && (shape.length === 2 || (shape.length === 4 && shape[2] === 1 && shape[3] === 1));

/** A convolution over the whole of its input is a linear layer of all its values, in the same order. */
function asMatrix(tensor: SafetensorsTensor): SafetensorsTensor {
  const { shape } = tensor;
  if (shape.length !== 4) return tensor;
  return { ...tensor, shape: [shape[0], elementCount(shape.slice(1)) ?? 0] };
}

function zeros(name: string, { file, shape }: SafetensorsTensor): SafetensorsTensor {
  return { file, name, dtype: 'F32', shape: [shape[0]], data: new Uint8Array(4 * shape[0]) };
}
