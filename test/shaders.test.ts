import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { type Capabilities, Device } from '../src/gpu/device.ts';
import { defineKernel, type Kernel, specialise } from '../src/gpu/kernel.ts';
import { PipelineCache } from '../src/gpu/pipelines.ts';
import { Marker } from '../src/marking/marker.ts';
import { defaultMarkingRecipe } from '../src/marking/recipe.ts';
import { FeatureExtractor } from '../src/nn/inference.ts';
import { Model } from '../src/nn/model.ts';
import type { NetworkConfig } from '../src/nn/networks.ts';
import { HALF_SWITCHES, openGpu } from '../src/node/device.ts';
import { prepareCopy, prepareMultiplyAdd } from '../src/profiling/ceilings.ts';
import { backward } from '../src/shaders/backward.ts';
import type { KernelCase } from '../src/shaders/cases.ts';
import { Program } from '../src/tensor/program.ts';
import { Tape } from '../src/tensor/tape.ts';
import { Variable } from '../src/tensor/variable.ts';

const modules = import.meta.glob<{ cases: readonly KernelCase[] }>('../src/shaders/*/*.cases.ts', { eager: true });
const files = import.meta.glob<string>('../src/**/*.wgsl', { query: '?raw', eager: true, import: 'default' });

const nameOf = (file: string): string => file.split('/').at(-1)!.replace('.wgsl', '');

/** Or a piece of some. */
const isKernel = (code: string): boolean => code.includes('@compute');

/** The pieces that a file is read with, in order: `// Needs: gather.wgsl, ../conv2d/epilogue.wgsl`. */
function piecesOf(file: string): string[] {
  const names = /^\/\/ Needs: (.*)$/m.exec(files[file])?.[1].split(', ') ?? [];
  return names.map((name) => new URL(name, `file:///${file}`).pathname.replace('/src/', '../src/'));
}

/** Kernels that were launched, by name. */
const kernels = new Map<string, Kernel>();

/** Every set of capabilities that some kernel chooses a variant by, whatever this machine has. */
const adapters: Readonly<Record<string, Partial<Capabilities>>> = {
  'a GPU with matrix units': { software: false, subgroupSize: 32, halfMatrices: true },
  'a software adapter with subgroups of 8': { software: true, subgroupSize: 8 },
  'a software adapter without subgroups': { software: true, subgroupSize: 0 },
  'a GPU with subgroups of 32': { software: false, subgroupSize: 32 },
  'a GPU without fixed subgroups': { software: false, subgroupSize: 0 },
  'a GPU that few workgroups fill': { software: false, subgroupSize: 0, workgroupsAtOnce: 1 },
};

// Dawn's null backend compiles and validates everything and runs nothing. Its limits are the specification's defaults.
let gpu: GPU;
beforeAll(async () => {
  gpu = await openGpu(['backend=null', ...HALF_SWITCHES]);
});

async function openNull(capabilities: Partial<Capabilities>): Promise<Device> {
  const precision = capabilities.halfMatrices ? 'f16' : 'f32';
  return Device.open((await gpu.requestAdapter())!, { capabilities, precision });
}

/** Builds a case's program, gradients included, as test/kernels.test.ts runs it. */
async function build(
  device: Device,
  { name, inputs, variables = [], record, gradients = [] }: KernelCase,
): Promise<void> {
  const tape = new Tape(device, { precision: device.capabilities.halfMatrices ? 'f16' : 'f32' });
  const owned: Variable[] = [];
  try {
    const tensors: Record<string, ReturnType<Tape['input']>> = {};
    for (const [input, { shape, dtype }] of Object.entries(inputs)) {
      if (variables.includes(input)) {
        owned.push(await Variable.create(device, input, shape, undefined, dtype));
        tensors[input] = tape.variable(owned.at(-1)!);
      } else tensors[input] = tape.input(input, shape, dtype);
    }
    const outputs = Object.values(record(tape, tensors));
    const wrt = gradients.map((input) => tensors[input]);
    if (wrt.length > 0) outputs.push(...backward(outputs[0], wrt));
    const program = await Program.build(device, tape, { name, outputs });
    for (const { kernel } of [...program.plan.launches.values()].flat()) kernels.set(kernel.name, kernel);
    program.destroy();
    await device.idle();
  } finally {
    for (const variable of owned) variable.destroy();
  }
}

describe('every kernel compiles at default limits', () => {
  const compiled = new Set<string>();

  for (const [adapter, capabilities] of Object.entries(adapters)) {
    it(`for ${adapter}`, async () => {
      const device = await openNull(capabilities);
      try {
        expect(device.gpu.limits.maxStorageBuffersPerShaderStage).toBe(8);
        expect(device.gpu.limits.maxComputeWorkgroupStorageSize).toBe(16384);
        const get = vi.spyOn(device.pipelines, 'get');
        for (const { cases } of Object.values(modules)) for (const kernelCase of cases) await build(device, kernelCase);
        for (const prepare of [prepareCopy, prepareMultiplyAdd]) (await prepare(device)).release();
        for (const [label] of get.mock.calls) compiled.add(label.split(' ')[0]);
      } finally {
        device.destroy();
      }
    });
  }

  it('no file is left out', () => {
    expect(Object.keys(files).length).toBeGreaterThan(10);
    const whole = Object.keys(files).filter((file) => isKernel(files[file]));
    expect(whole.map(nameOf).filter((name) => !compiled.has(name))).toEqual([]);
    const needed = new Set(whole.flatMap(piecesOf));
    expect(Object.keys(files).filter((file) => !whole.includes(file) && !needed.has(file))).toEqual([]);
  });
});

describe('every WGSL file opens in any WGSL tool', () => {
  let device: Device;
  beforeAll(async () => {
    device = await openNull(adapters['a GPU with matrix units']);
  });
  afterAll(() => device.destroy());

  /** What Dawn says against it. */
  async function problems(code: string): Promise<string[]> {
    device.gpu.pushErrorScope('validation');
    const { messages } = await device.gpu.createShaderModule({ code }).getCompilationInfo();
    await device.gpu.popErrorScope();
    return messages.map(({ message, lineNum }) => `${message}: ${code.split('\n')[lineNum - 1]}`);
  }

  for (const [file, code] of Object.entries(files)) {
    const pieces = piecesOf(file);
    it([nameOf(file), ...pieces.map(nameOf)].join(' with '), async () => {
      const needed = pieces.map((piece) => files[piece]);
      // Joined as for a device, with the defaults as they are; what stands alone is taken from the disk without any reading of ours.
      const joined = isKernel(code) && needed.length > 0;
      const text = joined ? specialise(defineKernel(nameOf(file), code, ...needed)) : [code, ...needed].join('\n');
      expect(await problems(text)).toEqual([]);
    });
  }

  it('and is joined as its first lines say', () => {
    expect(kernels.size).toBeGreaterThan(40);
    for (const [name, kernel] of kernels) {
      const file = Object.keys(files).find((file) => nameOf(file) === name)!;
      expect(kernel.code, file).toBe(
        defineKernel(name, files[file], ...piecesOf(file).map((piece) => files[piece])).code,
      );
    }
  });
});

describe('precision f16', () => {
  /** The convolution kernels of what `prepare` builds for a device with matrix units. */
  async function convolutions(prepare: (model: Model) => Promise<{ destroy(): void }>): Promise<string[]> {
    const device = await openNull(adapters['a GPU with matrix units']);
    const get = vi.spyOn(device.pipelines, 'get');
    const model = await Model.create(device, network, 0);
    try {
      (await prepare(model)).destroy();
      return get.mock.calls.map(([label]) => label.split(' ')[0]).filter((name) => /^conv2d_(?!splits)/.test(name));
    } finally {
      model.destroy();
      device.destroy();
    }
  }
  const network: NetworkConfig = {
    architecture: 'resnet18',
    width: 32,
    stem: 'small',
    numClasses: 10,
    inputSize: 28,
    channels: 1,
    mean: [0.5],
    std: [0.25],
  };

  it('is what marking computes with', async () => {
    const kernels = await convolutions((model) => Marker.create(model, 28 ** 2 * 4, 4, defaultMarkingRecipe(28)));
    expect(kernels).toContain('conv2d_matrix');
  });

  it('is never what features and scores are computed with', async () => {
    const kernels = await convolutions((model) => FeatureExtractor.create(model, 28 ** 2, 4));
    expect(kernels.length).toBeGreaterThan(0);
    expect(kernels).not.toContain('conv2d_matrix');
  });

  it('is refused where there are no matrix units', async () => {
    const adapter = await gpu.requestAdapter();
    await expect(Device.open(adapter!, { precision: 'f16' })).rejects.toThrow('cannot compute with precision f16');
  });
});

describe('a kernel that does not compile', () => {
  let device: Device;
  beforeAll(async () => {
    device = await openNull({});
  });
  afterAll(() => device.destroy());

  it('is named with line, column and the line itself', async () => {
    const code = [
      '@group(0) @binding(0) var<storage, read_write> y: array<f32>;',
      '@compute @workgroup_size(64)',
      'fn main() {',
      '  y[0] = oops;',
      '}',
    ].join('\n');
    await expect(new PipelineCache(device.gpu).get('broken', code, ['storage'])).rejects.toThrow(
      /^broken:4:10: .*oops.*\n {2}y\[0\] = oops;\n {9}\^$/,
    );
  });
});

describe('a kernel of several sources', () => {
  const piece = [
    'enable f16;',
    'alias Channels = vec4f;  // of one value',
    'const WIDE = 1u;',
    '@group(0) @binding(0) var<storage, read> x: array<Channels>;',
  ].join('\n');
  const own = [
    'enable f16;',
    'alias Channels = f32;',
    'const RELU = false;',
    'struct Params { size: u32 }',
    '@group(0) @binding(2) var<storage, read_write> y: array<Channels>;',
    '@group(0) @binding(1) var<uniform> p: Params;',
    '@compute @workgroup_size(1) fn main() {',
    '  const RUN = WIDE;',
    '  if (RELU) { y[0] = x[RUN * p.size]; }',
    '}',
  ].join('\n');
  const kernel = defineKernel('joined', own, piece);

  it('has directives first and once, and its own declarations where pieces have them too', () => {
    expect(kernel.code.split('\n').filter((line) => line !== '')).toEqual([
      'enable f16;',
      ...own.split('\n').slice(1),
      '// alias Channels = vec4f;  // of one value',
      ...piece.split('\n').slice(2),
    ]);
  });

  it('has its bindings by number', () => {
    expect(kernel.bindings).toEqual([
      { name: 'x', index: 0, writable: false },
      { name: 'y', index: 2, writable: true },
    ]);
    expect(kernel.types).toEqual(['read-only-storage', 'uniform', 'storage']);
    expect(() => defineKernel('twice', own, piece, piece)).toThrow('twice: binding 0 is there twice');
    expect(() => defineKernel('gap', own)).toThrow('gap: binding 0 is missing');
    expect(() => defineKernel('two', own, piece.replace('storage, read', 'uniform'))).toThrow(
      'two: there is one uniform',
    );
  });

  it('takes constants in the place of its declarations, and no others', () => {
    const code = specialise(kernel, { RELU: true, WIDE: 2, Channels: 'vec2f' });
    expect(code.split('\n').filter((line) => /^(const|alias)/.test(line))).toEqual([
      'alias Channels = vec2f;',
      'const RELU = true;',
      'const WIDE = 2u;',
    ]);
    expect(() => specialise(kernel, { TALL: 2 })).toThrow('joined: declares no constant TALL');
    // Inside a function it is nobody's business.
    expect(() => specialise(kernel, { RUN: 2 })).toThrow('joined: declares no constant RUN');
    expect(() => specialise(kernel, { Channels: 2 })).toThrow(
      'joined: Channels = 2 cannot take the place of alias Channels = f32;',
    );
  });
});
