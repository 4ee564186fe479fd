/**
 * A kernel is plain WGSL: one file, or one file and pieces that it shares with other kernels. WGSL is free of order at module scope, so
 * they are simply joined. What the host must know (bindings, parameters) is read from the WGSL itself, so that names cross the border
 * once: a launch that names a binding or parameter the shader does not have, or forgets one, throws.
 *
 * Conventions of every kernel:
 * - `@group(0) @binding(i) var<storage, read | read_write> NAME: array<…>;` one line a tensor, numbered from 0 without gaps;
 * - at most one `var<uniform> p: Params;` with `struct Params { name: u32|i32|f32, … }`; the last binding where no piece declares it;
 * - entry point `main`;
 * - what launches choose a variant by is declared with a default at the beginning of a line (`const TALL = 2u;`, `const RELU = true;`,
 *   `alias Channels = vec4f;`): any WGSL tool opens the file as it stands. A launch's constants take the declaration's place;
 * - a dispatch of more than 65 535 workgroups is folded over y: the linear workgroup is `wg.x + wg.y * num.x`.
 *
 * A piece has no entry point. It declares everything it uses, so that it compiles by itself, or says in a line `// Needs: gather.wgsl`
 * which other piece it is read with. Where a kernel's file and a piece declare a constant of the same name, that of the file counts.
 */
export interface Kernel {
  /** Of the operator or its part, as in messages and profiles. */
  readonly name: string;
  /** WGSL. */
  readonly code: string;
  /** Storage bindings by their number; the number of the uniform is missing among them. */
  readonly bindings: readonly { readonly name: string; readonly index: number; readonly writable: boolean }[];
  /** Fields of `Params` in order; empty if the kernel has none. */
  readonly params: readonly { readonly name: string; readonly type: 'u32' | 'i32' | 'f32' }[];
  /** Types for the bind group layout, by number. */
  readonly types: readonly GPUBufferBindingType[];
}

/** A number or truth is the value of a `const`, a string the type of an `alias`. */
export type Constants = Readonly<Record<string, number | boolean | string>>;

const DIRECTIVE = /^(enable [^;]+|diagnostic\([^)]*\));$/gm;
const BINDING = /@group\(0\)\s*@binding\((\d+)\)\s*var<([^>]+)>\s*(\w+)\s*:/g;
/** At module scope, which is where lines begin with them. */
const DECLARATION = /^(const|alias)\s+(\w+)[^;\n]*;/gm;

/**
 * Joins the sources of a kernel, its own file first, and reads them. Throws when they do not keep the conventions above.
 */
export function defineKernel(name: string, ...sources: readonly string[]): Kernel {
  const code = join(sources);
  const types: GPUBufferBindingType[] = [];
  const bindings: { name: string; index: number; writable: boolean }[] = [];
  for (const match of code.matchAll(BINDING)) {
    const [, number, space, variable] = match as unknown as [string, string, string, string];
    const index = Number(number);
    if (types[index]) throw new Error(`${name}: binding ${index} is there twice`);
    if (space === 'uniform') {
      if (variable !== 'p' || types.includes('uniform')) throw new Error(`${name}: there is one uniform, called p`);
      types[index] = 'uniform';
    } else {
      const writable = space.replaceAll(' ', '') === 'storage,read_write';
      types[index] = writable ? 'storage' : 'read-only-storage';
      bindings.push({ name: variable, index, writable });
    }
  }
  const gap = Array.from(types).indexOf(undefined as never);
  if (gap >= 0) throw new Error(`${name}: binding ${gap} is missing`);
  bindings.sort((a, b) => a.index - b.index);
  const struct = /struct Params \{([^}]*)\}/.exec(code)?.[1] ?? '';
  const params = [...struct.replaceAll(/\/\/.*$/gm, '').matchAll(/(\w+)\s*:\s*(u32|i32|f32)/g)].map((match) => ({
    name: match[1] as string,
    type: match[2] as 'u32' | 'i32' | 'f32',
  }));
  if (types.includes('uniform') !== params.length > 0) throw new Error(`${name}: Params and its binding come together`);
  return { name, code, bindings, params, types };
}

/** Directives first, as WGSL wants it, each once; of several declarations of a constant the first. */
function join(sources: readonly string[]): string {
  const directives = new Set(sources.flatMap((source) => [...source.matchAll(DIRECTIVE)].map(([line]) => line)));
  const declared = new Set<string>();
  const bodies = sources.map((source) => {
    const earlier = new Set(declared);
    return source.replaceAll(DIRECTIVE, '').replaceAll(DECLARATION, (line, _kind, constant: string) => {
      declared.add(constant);
      return earlier.has(constant) ? `// ${line}` : line;
    });
  });
  return [...directives, ...bodies].join('\n');
}

/**
 * The full source of a variant: the kernel with the constants in place of its defaults.
 * Throws where the kernel declares no such constant, or one of another kind.
 */
export function specialise(kernel: Kernel, constants: Constants = {}): string {
  const left = new Set(Object.keys(constants));
  const code = kernel.code.replaceAll(DECLARATION, (line, kind: string, name: string) => {
    const value = left.delete(name) ? constants[name] : undefined;
    if (value === undefined) return line;
    if ((kind === 'alias') !== (typeof value === 'string'))
      throw new Error(`${kernel.name}: ${name} = ${value} cannot take the place of ${line}`);
    if (typeof value === 'string') return `alias ${name} = ${value};`;
    return `const ${name} = ${typeof value === 'number' ? `${value}u` : value};`;
  });
  if (left.size > 0) throw new Error(`${kernel.name}: declares no constant ${[...left].join(', ')}`);
  return code;
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
