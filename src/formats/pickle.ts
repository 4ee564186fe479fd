import { InputError } from '../errors.ts';

/**
 * What a pickle may hold here: None, booleans, numbers, strings, bytes; lists, tuples and sets as arrays; dictionaries as maps; and what
 * `PickleOptions` makes of names, calls and references.
 */
export type PickleValue = unknown;

export interface PickleOptions {
  /** For messages. */
  readonly fileName: string;
  /** Whether strings of Python 2 that are longer than names, above 255 bytes, are bytes, as those of arrays. Default: text. */
  readonly longStringsAreBytes?: boolean;
  /** What is read, for messages about what it does not need, and what to do instead. Default: a state dict. */
  readonly purpose?: { readonly name: string; readonly cure: string };
  /** What the name of a class or a function stands for; undefined refuses it, and with it the pickle. */
  readonly global: (name: string) => PickleValue | undefined;
  /** The result of a call that the pickle asks for; undefined refuses it. Nothing else is ever called. */
  readonly call: (callee: PickleValue, args: readonly PickleValue[]) => PickleValue | undefined;
  /** What a reference to something outside of the pickle stands for; undefined refuses it. */
  readonly reference: (id: PickleValue) => PickleValue | undefined;
}

/** A value that a pickle asks to make with a class that is allowed and not needed here: remembered, never made. */
export class PickledObject {
  readonly className: string;
  readonly args: readonly PickleValue[];
  /** What the pickle sets its attributes to. */
  state: PickleValue = undefined;
  constructor(className: string, args: readonly PickleValue[]) {
    this.className = className;
    this.args = args;
  }
}

/**
 * Bounds memory and time, in instructions and in the values that a call is given, which it may look at or copy every time: apart
 * from calls each instruction makes one value at most. Checkpoints have some dozens for each tensor.
 */
const MAX_STEPS = 2_000_000;
const MAX_PROTOCOL = 5;
/** Far beyond any number in a checkpoint. */
const MAX_INTEGER_BYTES = 32;
const MAX_LINE_BYTES = 1000;

const STATE_DICT = {
  name: 'state dict',
  cure: 'save model.state_dict() with torch.save, or convert it to safetensors',
};

/** Marks the beginning of a list of operands on the stack. */
const MARK = Symbol('mark');

/**
 * Reads one pickle (Python's protocols 0 to 5) that begins at `start`, by a machine that can execute nothing: names stand for
 * what `options` say, and calls are made by `options` alone. Returns the value and where the pickle ends.
 *
 * @throws InputError if it is truncated or damaged, uses a name, call or reference that is refused, an instruction that no state
 * dict needs, or more than two million instructions and values given to calls.
 */
export function readPickle(
  bytes: Uint8Array,
  start: number,
  options: PickleOptions,
): { value: PickleValue; end: number } {
  const machine = new Machine(bytes, start, options);
  for (;;) {
    machine.spend(1);
    const code = machine.byte();
    if (code === STOP) return { value: machine.finish(), end: machine.at };
    const execute = INSTRUCTIONS.get(code);
    if (!execute) {
      const text = code.toString(16).padStart(2, '0');
      return machine.unneeded(`has the instruction 0x${text}`);
    }
    execute(machine);
  }
}

/** The stack, the memo and what is left to read. */
class Machine {
  at: number;
  readonly stack: PickleValue[] = [];
  readonly memo = new Map<number, PickleValue>();
  readonly view: DataView;
  readonly #bytes: Uint8Array;
  readonly #options: PickleOptions;
  #steps = 0;

  constructor(bytes: Uint8Array, start: number, options: PickleOptions) {
    this.#bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.at = start;
    this.#options = options;
  }

  get #purpose() {
    return this.#options.purpose ?? STATE_DICT;
  }

  /** Refuses what whatever is read here does not need. */
  unneeded(what: string, more = ''): never {
    return this.fail(`its pickle ${what}, which no ${this.#purpose.name} needs${more}`);
  }

  fail(what: string, cure: string = this.#purpose.cure): never {
    throw new InputError(`${this.#options.fileName}: ${what}; ${cure}`);
  }

  /** Counts what is about to be done. */
  spend(steps: number): void {
    this.#steps += steps;
    if (this.#steps > MAX_STEPS)
      this.fail(`its pickle takes more than ${MAX_STEPS} steps`, 'save model.state_dict() alone');
  }

  #underflow(): never {
    return this.fail('damaged: its pickle takes values that it never made', 'save or download it again');
  }

  // Reading.

  /** Moves on by a number of bytes, which must be there, and returns where they begin. */
  take(bytes: number): number {
    const from = this.at;
    if (bytes > this.#bytes.length - from) this.fail('truncated: its pickle has no end', 'save or download it again');
    this.at += bytes;
    return from;
  }

  byte(): number {
    return this.#bytes[this.take(1)];
  }

  uint32(): number {
    return this.view.getUint32(this.take(4), true);
  }

  /** A length of 8 bytes; one beyond exact numbers is beyond the file too. */
  uint64(): number {
    return Number(this.view.getBigUint64(this.take(8), true));
  }

  slice(length: number): Uint8Array {
    const from = this.take(length);
    return this.#bytes.subarray(from, from + length);
  }

  utf8(length: number): string {
    return new TextDecoder('utf-8', { ignoreBOM: true }).decode(this.slice(length));
  }

  /** Text up to the end of the line. */
  line(): string {
    const end = this.#bytes.subarray(0, this.at + MAX_LINE_BYTES).indexOf(0x0a, this.at);
    if (end < 0) this.fail('damaged: its pickle has a line without end', 'save or download it again');
    const text = this.utf8(end - this.at);
    this.take(1);
    return text;
  }

  /** An integer of so many bytes, in two's complement, little-endian. */
  integer(length: number): number | bigint {
    if (length > MAX_INTEGER_BYTES) this.fail(`its pickle has an integer of ${length} bytes`);
    const bytes = this.slice(length);
    let value = 0n;
    for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i]);
    const signed = BigInt.asIntN(8 * length, value);
    return Number.isSafeInteger(Number(signed)) ? Number(signed) : signed;
  }

  // The stack.

  push(value: PickleValue): void {
    this.stack.push(value);
  }

  pushLongString(length: number): void {
    this.push(this.#options.longStringsAreBytes ? this.slice(length) : this.utf8(length));
  }

  /** Takes off the topmost value. */
  pop(): PickleValue {
    const value = this.top();
    this.stack.pop();
    return value;
  }

  top(): PickleValue {
    const value = this.stack.at(-1);
    return value === undefined || value === MARK ? this.#underflow() : value;
  }

  /** Takes off so many values, in the order they came. */
  popMany(count: number): PickleValue[] {
    const values = this.stack.splice(-count);
    return values.length < count || values.includes(MARK) ? this.#underflow() : values;
  }

  /** Takes off everything above the last mark, and the mark. */
  popMarked(): PickleValue[] {
    const mark = this.stack.lastIndexOf(MARK);
    if (mark < 0) this.#underflow();
    const values = this.stack.splice(mark + 1);
    this.stack.pop();
    return values;
  }

  /** The value that the pickle as a whole stands for. */
  finish(): PickleValue {
    const value = this.pop();
    if (this.stack.length > 0) this.#underflow();
    return value;
  }

  recall(index: number): PickleValue {
    const value = this.memo.get(index);
    return value === undefined ? this.#underflow() : value;
  }

  // Containers.

  /** Puts values into the list that is now on top. */
  append(values: readonly PickleValue[]): void {
    const list = this.top();
    // Of a class that is a list, which is not made.
    if (list instanceof PickledObject) return;
    if (!Array.isArray(list)) this.fail('its pickle appends to something that is no list');
    else for (const value of values) list.push(value);
  }

  /** Puts keys and values, in turn, into the dictionary that is now on top. */
  setItems(items: readonly PickleValue[]): void {
    const map = this.top();
    if (map instanceof PickledObject) return;
    if (!(map instanceof Map) || items.length % 2 !== 0) this.fail('its pickle sets items of something that has none');
    else for (let i = 0; i < items.length; i += 2) map.set(items[i], items[i + 1]);
  }

  // Names, calls, references: what decides whether a pickle is harmless.

  pushGlobal(module: PickleValue, name: PickleValue): void {
    if (typeof module !== 'string' || typeof name !== 'string')
      this.fail('its pickle refers to a name that is no text');
    const value = this.#options.global(`${module}.${name}`);
    if (value === undefined) this.unneeded(`refers to ${quote(`${module}.${name}`)}`, ' and which is not run here');
    this.push(value);
  }

  pushCall(callee: PickleValue, args: PickleValue): void {
    if (Array.isArray(args))
      for (const arg of args) this.spend(Array.isArray(arg) ? arg.length : arg instanceof Map ? arg.size : 1);
    const value = Array.isArray(args) ? this.#options.call(callee, args) : undefined;
    if (value === undefined)
      this.fail(`its pickle calls something that no ${this.#purpose.name} needs and that is not run here`);
    this.push(value);
  }

  pushReference(id: PickleValue): void {
    const value = this.#options.reference(id);
    if (value === undefined) this.fail('its pickle refers to something outside of it that is no storage of a tensor');
    this.push(value);
  }

  /** Sets the attributes of what is now on top. */
  setState(state: PickleValue): void {
    const object = this.top();
    if (object instanceof PickledObject) object.state = state;
    // Of a dictionary, like the versions of modules that a state dict has: not needed.
    else if (!(object instanceof Map)) this.fail('its pickle sets attributes of something that has none');
  }
}

/** A name for a one-line message, however long or odd it is. */
const quote = (name: string): string => JSON.stringify(name.length > 100 ? `${name.slice(0, 100)}…` : name);

const STOP = 0x2e;

/** By code, in groups; beside each its name in Python's pickletools. */
const INSTRUCTIONS: ReadonlyMap<number, (machine: Machine) => void> = new Map<number, (machine: Machine) => void>([
  // Constants and numbers.
  [0x4e, (m) => m.push(null)], // NONE
  [0x88, (m) => m.push(true)], // NEWTRUE
  [0x89, (m) => m.push(false)], // NEWFALSE
  [0x4b, (m) => m.push(m.byte())], // BININT1
  [0x4d, (m) => m.push(m.view.getUint16(m.take(2), true))], // BININT2
  [0x4a, (m) => m.push(m.view.getInt32(m.take(4), true))], // BININT
  [0x8a, (m) => m.push(m.integer(m.byte()))], // LONG1
  [0x8b, (m) => m.push(m.integer(m.uint32()))], // LONG4
  [0x47, (m) => m.push(m.view.getFloat64(m.take(8)))], // BINFLOAT
  [0x49, (m) => m.push(decimal(m, m.line()))], // INT
  [0x4c, (m) => m.push(decimal(m, m.line().replace(/L$/, '')))], // LONG
  [0x46, (m) => m.push(Number(m.line()))], // FLOAT
  // Text and bytes. Strings of Python 2 hold names, which are ASCII.
  [0x8c, (m) => m.push(m.utf8(m.byte()))], // SHORT_BINUNICODE
  [0x58, (m) => m.push(m.utf8(m.uint32()))], // BINUNICODE
  [0x8d, (m) => m.push(m.utf8(m.uint64()))], // BINUNICODE8
  [0x55, (m) => m.push(m.utf8(m.byte()))], // SHORT_BINSTRING
  [0x54, (m) => m.pushLongString(m.uint32())], // BINSTRING
  [0x56, (m) => m.push(m.line())], // UNICODE
  [0x53, (m) => m.push(m.line().replace(/^(['"])(.*)\1$/, '$2'))], // STRING
  [0x43, (m) => m.push(m.slice(m.byte()))], // SHORT_BINBYTES
  [0x42, (m) => m.push(m.slice(m.uint32()))], // BINBYTES
  [0x8e, (m) => m.push(m.slice(m.uint64()))], // BINBYTES8
  [0x96, (m) => m.push(m.slice(m.uint64()))], // BYTEARRAY8
  // Containers.
  [0x5d, (m) => m.push([])], // EMPTY_LIST
  [0x29, (m) => m.push([])], // EMPTY_TUPLE
  [0x8f, (m) => m.push([])], // EMPTY_SET
  [0x7d, (m) => m.push(new Map())], // EMPTY_DICT
  [0x6c, (m) => m.push(m.popMarked())], // LIST
  [0x74, (m) => m.push(m.popMarked())], // TUPLE
  [0x91, (m) => m.push(m.popMarked())], // FROZENSET
  [0x85, (m) => m.push(m.popMany(1))], // TUPLE1
  [0x86, (m) => m.push(m.popMany(2))], // TUPLE2
  [0x87, (m) => m.push(m.popMany(3))], // TUPLE3
  [0x61, (m) => m.append([m.pop()])], // APPEND
  [0x65, (m) => m.append(m.popMarked())], // APPENDS
  [0x90, (m) => m.append(m.popMarked())], // ADDITEMS
  [0x73, (m) => m.setItems(m.popMany(2))], // SETITEM
  [0x75, (m) => m.setItems(m.popMarked())], // SETITEMS
  [
    0x64, // DICT
    (m) => {
      const items = m.popMarked();
      m.push(new Map());
      m.setItems(items);
    },
  ],
  // Stack and memo.
  [0x28, (m) => m.push(MARK)], // MARK
  [0x30, (m) => void m.stack.pop()], // POP
  [0x31, (m) => void m.popMarked()], // POP_MARK
  [0x32, (m) => m.push(m.top())], // DUP
  [0x70, (m) => void m.memo.set(Number(m.line()), m.top())], // PUT
  [0x71, (m) => void m.memo.set(m.byte(), m.top())], // BINPUT
  [0x72, (m) => void m.memo.set(m.uint32(), m.top())], // LONG_BINPUT
  [0x94, (m) => void m.memo.set(m.memo.size, m.top())], // MEMOIZE
  [0x67, (m) => m.push(m.recall(Number(m.line())))], // GET
  [0x68, (m) => m.push(m.recall(m.byte()))], // BINGET
  [0x6a, (m) => m.push(m.recall(m.uint32()))], // LONG_BINGET
  // Names, calls, references.
  [0x63, (m) => m.pushGlobal(m.line(), m.line())], // GLOBAL
  [0x93, (m) => m.pushGlobal(...(m.popMany(2) as [PickleValue, PickleValue]))], // STACK_GLOBAL
  [0x52, (m) => m.pushCall(...(m.popMany(2) as [PickleValue, PickleValue]))], // REDUCE
  [0x81, (m) => m.pushCall(...(m.popMany(2) as [PickleValue, PickleValue]))], // NEWOBJ
  [0x92, (m) => m.pushCall(...(m.popMany(3).slice(0, 2) as [PickleValue, PickleValue]))], // NEWOBJ_EX
  [0x51, (m) => m.pushReference(m.pop())], // BINPERSID
  [0x62, (m) => m.setState(m.pop())], // BUILD
  // How the pickle is written.
  [
    0x80, // PROTO
    (m) => {
      const protocol = m.byte();
      if (protocol > MAX_PROTOCOL) m.fail(`its pickle has protocol ${protocol}, known are 0 to ${MAX_PROTOCOL}`);
    },
  ],
  [0x95, (m) => void m.uint64()], // FRAME
]);

function decimal(machine: Machine, text: string): number | bigint | boolean {
  // How protocol 0 writes True and False.
  if (text === '00' || text === '01') return text === '01';
  if (!/^-?\d{1,80}$/.test(text)) return machine.fail(`damaged: its pickle has the integer ${quote(text)}`);
  const value = Number(text);
  return Number.isSafeInteger(value) ? value : BigInt(text);
}
