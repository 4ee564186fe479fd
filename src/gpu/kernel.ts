/**
 * A kernel is one plain WGSL file. What the host must know of it (bindings, parameters) is read from the WGSL itself, so that
 * names cross the border once: a launch that names a binding or parameter the shader does not have, or forgets one, throws.
 *
 * Conventions of every kernel file:
 * - `@group(0) @binding(i) var<storage, read | read_write> NAME: array<…>;` one line a tensor, in order;
 * - at most one `var<uniform> p: Params;` with `struct Params { name: u32|i32|f32, … }`, always the last binding;
 * - entry point `main`; constants that pick a variant are not declared in the file but given by the launch and written before it;
 * - a dispatch of more than 65 535 workgroups is folded over y: the linear workgroup is `wg.x + wg.y * num.x`.
 */
export interface Kernel {
  /** Of the operator or its part, as in messages and profiles. */
  readonly name: string;
  /** WGSL. */
  readonly code: string;
  /** Storage bindings in order. */
  readonly bindings: readonly { readonly name: string; readonly writable: boolean }[];
  /** Fields of `Params` in order; empty if the kernel has none. */
  readonly params: readonly { readonly name: string; readonly type: 'u32' | 'i32' | 'f32' }[];
  /** Types for the bind group layout. */
  readonly types: readonly GPUBufferBindingType[];
  /** `enable` and `diagnostic` directives, which must come before the constants. */
  readonly directives: string;
}

/** A number or truth is written as a `const`, a string as an `alias` for a type. */
export type Constants = Readonly<Record<string, number | boolean | string>>;

const DIRECTIVE = /^(enable [^;]+|diagnostic\([^)]*\));$/gm;

/** Reads a kernel's WGSL. Throws when it does not keep the conventions above. */
export function defineKernel(name: string, source: string): Kernel {
  const directives = [...source.matchAll(DIRECTIVE)].map((match) => match[0]).join('\n');
  const code = source.replaceAll(DIRECTIVE, '');
  const bindings: { name: string; writable: boolean }[] = [];
  let uniform = false;
  for (const match of code.matchAll(/@group\(0\)\s*@binding\((\d+)\)\s*var<([^>]+)>\s*(\w+)\s*:/g)) {
    const [, index, space, variable] = match as unknown as [string, string, string, string];
    if (Number(index) !== bindings.length || uniform) throw new Error(`${name}: binding ${index} is out of order`);
    if (space === 'uniform') {
      if (variable !== 'p') throw new Error(`${name}: the uniform must be called p`);
      uniform = true;
    } else {
      bindings.push({ name: variable, writable: space.replaceAll(' ', '') === 'storage,read_write' });
    }
  }
  const struct = /struct Params \{([^}]*)\}/.exec(code)?.[1] ?? '';
  const params = [...struct.replaceAll(/\/\/.*$/gm, '').matchAll(/(\w+)\s*:\s*(u32|i32|f32)/g)].map((match) => ({
    name: match[1] as string,
    type: match[2] as 'u32' | 'i32' | 'f32',
  }));
  if (uniform !== params.length > 0) throw new Error(`${name}: Params and its binding come together`);
  const types: GPUBufferBindingType[] = bindings.map(({ writable }) => (writable ? 'storage' : 'read-only-storage'));
  if (uniform) types.push('uniform');
  return { name, code, bindings, params, types, directives };
}

/** The full source of a variant: directives, one line a constant, the kernel. */
export function specialise(kernel: Kernel, constants: Constants = {}): string {
  const header = Object.entries(constants).map(([name, value]) => {
    if (typeof value === 'boolean') return `const ${name}: bool = ${value};`;
    if (typeof value === 'string') return `alias ${name} = ${value};`;
    return `const ${name}: u32 = ${value}u;`;
  });
  return [kernel.directives, ...header, kernel.code].join('\n');
}

/** Bytes of a kernel's parameters as the uniform buffer holds them. Throws when a name is missing or unknown. */
export function packParams(kernel: Kernel, values: Readonly<Record<string, number>>): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(Math.ceil((kernel.params.length * 4) / 16) * 16);
  const view = new DataView(bytes.buffer);
  const given = new Set(Object.keys(values));
  kernel.params.forEach(({ name, type }, index) => {
    const value = values[name];
    if (value === undefined) throw new Error(`${kernel.name}: parameter ${name} is missing`);
    given.delete(name);
    if (type === 'f32') view.setFloat32(index * 4, value, true);
    else if (
      !Number.isInteger(value) ||
      value < (type === 'u32' ? 0 : -(2 ** 31)) ||
      value >= 2 ** (type === 'u32' ? 32 : 31)
    ) {
      throw new Error(`${kernel.name}: parameter ${name} = ${value} is no ${type}`);
    } else if (type === 'u32') view.setUint32(index * 4, value, true);
    else view.setInt32(index * 4, value, true);
  });
  if (given.size > 0) throw new Error(`${kernel.name}: unknown parameter ${[...given].join(', ')}`);
  return bytes;
}
