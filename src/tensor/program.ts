import { DeviceError } from '../errors.ts';
import type { Device } from '../gpu/device.ts';
import { packParams, specialise } from '../gpu/kernel.ts';
import { type Plan, planMemory } from './plan.ts';
import type { Launch, Node, Tape } from './tape.ts';
import { show, type Tensor } from './tensor.ts';

/** What {@link Program.build} makes of a tape. */
export interface ProgramOptions {
  /** Shown in messages. */
  readonly name: string;
  /** Tensors the host reads after a replay, variables among them. Nothing else is kept in their memory. */
  readonly outputs?: readonly Tensor[];
  /**
   * For tests: every tensor has a buffer of its own, which starts as NaN and ends in guard words that `checkGuards` reads, and
   * grids are folded at a few workgroups, as very large ones are.
   */
  readonly guard?: boolean;
}

interface LabelledLaunch {
  readonly label: string;
  readonly launch: Launch;
}

interface BoundLaunch {
  readonly label: string;
  readonly kernel: string;
  readonly variant: string;
  readonly pipeline: GPUComputePipeline;
  readonly bindGroup: GPUBindGroup;
  readonly workgroups: readonly [number, number, number];
  readonly flops: number;
  readonly bytes: number;
}

/** The range of a buffer that a tensor takes. */
type Binding = Readonly<Required<GPUBufferBinding>>;

const whole = (buffer: GPUBuffer): Binding => ({ buffer, offset: 0, size: buffer.size });

/** Time and work of one launch, from `Program.profile`. */
export interface StepProfile {
  /** Of the node. */
  readonly label: string;
  /** Name of the kernel. */
  readonly kernel: string;
  readonly variant: string;
  /** On the GPU, in milliseconds. */
  readonly timeMs: number;
  /** Floating-point operations, a multiply-add counted as two. */
  readonly flops: number;
  readonly bytes: number;
}

const GUARD_BYTES = 64;
const MAX_WORKGROUPS = 65535;
const GUARDED_WORKGROUPS = 7;
/** Replays that may be under way at once: enough to keep the device busy, few enough that memory and latency stay flat. */
const IN_FLIGHT = 2;
/** Work of one submit, so that it stays far below the 2 s after which operating systems reset a GPU. */
const SUBMIT_FLOPS = { software: 2e9, hardware: 5e11 };

/**
 * A recorded computation made ready to run: memory planned, pipelines compiled, bind groups made. `run` replays it without
 * allocating anything. Nodes that depend on nothing that changes between replays (folded weights, say) run once, and again
 * only when one of their variables has been written.
 */
export class Program {
  /** Shown in messages. */
  readonly name: string;
  /** Where it runs. */
  readonly device: Device;
  /** What runs, in which order, and where every tensor lies. */
  readonly plan: Plan;
  /** Milliseconds from the first node to a program that can run; compiling is what nothing before it has compiled. */
  readonly buildMs: Readonly<Record<'record' | 'plan' | 'allocate' | 'compile' | 'bind', number>>;
  readonly #tape: Tape;
  readonly #bindings = new Map<Tensor, Binding>();
  readonly #owned: GPUBuffer[] = [];
  readonly #staging = new Map<Tensor, GPUBuffer>();
  readonly #updated: readonly Tensor[];
  readonly #inFlight: Promise<void>[] = [];
  readonly #guarded: { buffer: GPUBuffer; bytes: number }[] = [];
  #prologue: BoundLaunch[] = [];
  #steps: BoundLaunch[] = [];
  #prologueVersion = -1;

  private constructor(device: Device, tape: Tape, plan: Plan, name: string, buildMs: Program['buildMs']) {
    this.device = device;
    this.#tape = tape;
    this.plan = plan;
    this.name = name;
    this.buildMs = buildMs;
    this.#updated = [...new Set([...plan.steps].flatMap((node) => node.updates ?? []))];
  }

  /**
   * Plans and prepares `tape`.
   * Throws DeviceError before anything is allocated if a tensor exceeds what the adapter binds or the memory limit is too
   * small (the message has the bytes), and afterwards if the device itself runs out.
   */
  static async build(device: Device, tape: Tape, options: ProgramOptions): Promise<Program> {
    const { outputs = [], guard = false } = options;
    const buildMs = { record: 0, plan: 0, allocate: 0, compile: 0, bind: 0 };
    let last = tape.begunAt;
    const lap = (part: keyof typeof buildMs): void => {
      const now = performance.now();
      buildMs[part] = now - last;
      last = now;
    };
    lap('record');
    const plan = planMemory(tape, outputs, {
      capabilities: device.capabilities,
      alignmentBytes: device.gpu.limits.minStorageBufferOffsetAlignment,
      maxBufferBytes: guard ? 0 : device.gpu.limits.maxBufferSize,
    });
    lap('plan');
    refuseWhatDoesNotFit(device, plan, tape, options.name);

    const program = new Program(device, tape, plan, options.name, buildMs);
    try {
      await program.#allocate(outputs, guard);
      lap('allocate');
      const prologue = program.#launches(plan.prologue);
      const launches = [...prologue, ...program.#launches(plan.steps)];
      const pipelines = await program.#compile(launches);
      lap('compile');
      const steps = await program.#bind(launches, pipelines, guard ? GUARDED_WORKGROUPS : MAX_WORKGROUPS);
      program.#prologue = steps.slice(0, prologue.length);
      program.#steps = steps.slice(prologue.length);
      lap('bind');
      return program;
    } catch (error) {
      program.destroy();
      throw error;
    }
  }

  /** Bytes of the program's own buffers, without variables. */
  get plannedBytes(): number {
    return this.plan.bytes;
  }

  /** Floating-point operations of one replay. */
  get flops(): number {
    return this.#steps.reduce((sum, step) => sum + step.flops, 0);
  }

  /** Kernel launches of one replay. */
  get launchCount(): number {
    return this.#steps.length;
  }

  /** Sets an input of the tape for the replays that follow. */
  write(input: Tensor, data: Float32Array | Uint32Array): void {
    if (data.length !== input.size)
      throw new Error(`${this.name}: ${data.length} values for input ${input.name} ${show(input.shape)}`);
    const { buffer, offset } = this.#binding(input);
    this.device.gpu.queue.writeBuffer(buffer, offset, data as Float32Array<ArrayBuffer>);
  }

  /** Submits one replay. Resolves when there is room for the next, not when this one is done. Throws DeviceError if the device failed. */
  async run(): Promise<void> {
    this.device.check();
    const version = this.#constantsVersion();
    if (version !== this.#prologueVersion) {
      this.#submit(this.#prologue);
      this.#prologueVersion = version;
    }
    this.#submit(this.#steps);
    for (const tensor of this.#updated) this.#tape.variables.get(tensor)!.version++;
    this.#inFlight.push(this.device.gpu.queue.onSubmittedWorkDone());
    if (this.#inFlight.length >= IN_FLIGHT) await this.#inFlight.shift();
  }

  /** Reads an output as the last replay left it. */
  async read(output: Tensor): Promise<Float32Array> {
    const staging = this.#staging.get(output);
    if (!staging) throw new Error(`${this.name}: ${output.name} was not named as an output`);
    const encoder = this.device.gpu.createCommandEncoder();
    const { buffer, offset } = this.#binding(output);
    encoder.copyBufferToBuffer(buffer, offset, staging, 0, staging.size);
    this.device.gpu.queue.submit([encoder.finish()]);
    try {
      await staging.mapAsync(GPUMapMode.READ);
    } catch (error) {
      this.device.check();
      throw new DeviceError(`${this.name}: reading ${output.name} failed: ${String(error)}`, { cause: error });
    }
    const values = new Float32Array(staging.getMappedRange().slice(0, output.size * 4));
    staging.unmap();
    this.device.check();
    return values;
  }

  /** Replays once with GPU timestamps around every launch. Throws where the adapter has none. */
  async profile(): Promise<StepProfile[]> {
    if (!this.device.capabilities.timestamps) throw new DeviceError(`${this.device.name} has no timestamp queries`);
    await this.run();
    const gpu = this.device.gpu;
    const profiles: StepProfile[] = [];
    const batch = 512;
    const querySet = gpu.createQuerySet({ type: 'timestamp', count: batch * 2 });
    const resolved = await this.device.allocate(
      batch * 16,
      'timestamps',
      GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC,
    );
    try {
      for (let first = 0; first < this.#steps.length; first += batch) {
        const steps = this.#steps.slice(first, first + batch);
        const encoder = gpu.createCommandEncoder();
        steps.forEach((step, index) => {
          const pass = encoder.beginComputePass({
            timestampWrites: { querySet, beginningOfPassWriteIndex: index * 2, endOfPassWriteIndex: index * 2 + 1 },
          });
          encode(pass, step);
          pass.end();
        });
        encoder.resolveQuerySet(querySet, 0, steps.length * 2, resolved, 0);
        gpu.queue.submit([encoder.finish()]);
        const times = new BigUint64Array(await this.device.read(resolved, steps.length * 16));
        steps.forEach(({ label, kernel, variant, flops, bytes }, index) => {
          const timeMs = Number(times[index * 2 + 1] - times[index * 2]) / 1e6;
          profiles.push({ label, kernel, variant, timeMs, flops, bytes });
        });
      }
    } finally {
      querySet.destroy();
      this.device.free(resolved);
    }
    for (const tensor of this.#updated) this.#tape.variables.get(tensor)!.version++;
    return profiles;
  }

  /** Of a program built with `guard`: throws if a kernel wrote past the end of a tensor. */
  async checkGuards(): Promise<void> {
    for (const { buffer, bytes } of this.#guarded) {
      const words = new Uint32Array(await this.device.read(buffer)).subarray(bytes / 4);
      if (words.length === 0 || words.some((word) => word !== 0x7fc00000))
        throw new Error(`${this.name}: a kernel wrote past the end of ${buffer.label}`);
    }
  }

  /** Gives every buffer back. Variables stay: they belong to whoever made them. */
  destroy(): void {
    for (const buffer of [...this.#owned, ...this.#staging.values()]) this.device.free(buffer);
    this.#owned.length = 0;
    this.#staging.clear();
  }

  #binding(tensor: Tensor): Binding {
    const variable = this.#tape.variables.get(tensor);
    const binding = variable ? whole(variable.buffer) : this.#bindings.get(tensor);
    if (!binding) throw new Error(`${this.name}: ${tensor.name} is not part of this program`);
    return binding;
  }

  #launches(nodes: readonly Node[]): LabelledLaunch[] {
    return nodes.flatMap((node) => this.plan.launches.get(node)!.map((launch) => ({ label: node.label, launch })));
  }

  #constantsVersion(): number {
    let version = 0;
    for (const tensor of this.plan.constantVariables) version += this.#tape.variables.get(tensor)!.version;
    return version;
  }

  async #allocate(outputs: readonly Tensor[], guard: boolean): Promise<void> {
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
    const own = async (bytes: number, label: string): Promise<GPUBuffer> => {
      const buffer = await this.device.allocate(bytes + (guard ? GUARD_BYTES : 0), label, usage);
      this.#owned.push(buffer);
      if (guard) {
        this.device.gpu.queue.writeBuffer(buffer, 0, new Uint32Array(buffer.size / 4).fill(0x7fc00000));
        this.#guarded.push({ buffer, bytes });
      }
      return buffer;
    };
    for (const input of this.#tape.inputs) this.#bindings.set(input, whole(await own(input.bytes, input.name)));
    const buffers: GPUBuffer[] = [];
    for (const [index, bytes] of this.plan.buffers.entries())
      buffers.push(await own(bytes, `${this.name} buffer ${index}`));
    for (const [tensor, { buffer: index, offset }] of this.plan.places) {
      const buffer = buffers[index];
      // Guard words are bound too, or nothing could write there.
      this.#bindings.set(tensor, guard ? whole(buffer) : { buffer, offset, size: tensor.bytes });
    }
    for (const output of new Set(outputs)) {
      const bytes = output.size * 4;
      this.#staging.set(
        output,
        await this.device.allocate(bytes, `${output.name} readback`, GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST),
      );
    }
  }

  /** All at once: pipelines compile in the background, beside each other. */
  #compile(launches: readonly LabelledLaunch[]): Promise<GPUComputePipeline[]> {
    return Promise.all(
      launches.map(({ label, launch: { kernel, constants } }) =>
        this.device.pipelines.get(`${kernel.name} (${label})`, specialise(kernel, constants), kernel.types),
      ),
    );
  }

  async #bind(
    launches: readonly LabelledLaunch[],
    pipelines: readonly GPUComputePipeline[],
    maxWorkgroups: number,
  ): Promise<BoundLaunch[]> {
    const { device } = this;
    // All parameters of the program in one buffer, written once.
    const alignment = device.gpu.limits.minUniformBufferOffsetAlignment;
    let offset = 0;
    const params = launches.map(({ launch }) => {
      const bytes = packParams(launch.kernel, launch.params ?? {});
      const at = offset;
      offset += Math.ceil(bytes.length / alignment) * alignment;
      return { bytes, at };
    });
    const uniform = await device.allocate(
      Math.max(16, offset),
      `${this.name} parameters`,
      GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
    );
    this.#owned.push(uniform);
    const all = new Uint8Array(Math.max(16, offset));
    for (const { bytes, at } of params) all.set(bytes, at);
    device.gpu.queue.writeBuffer(uniform, 0, all);
    const unused = await device.allocate(16, 'unused binding', GPUBufferUsage.STORAGE);
    this.#owned.push(unused);

    return launches.map(({ label, launch }, index) => {
      const { kernel, bind } = launch;
      for (const name of Object.keys(bind)) {
        if (!kernel.bindings.some((binding) => binding.name === name))
          throw new Error(`${kernel.name}: no binding ${name}`);
      }
      const bound = new Set<Tensor>();
      const entries: GPUBindGroupEntry[] = kernel.bindings.map(({ name, index: binding }) => {
        if (!(name in bind)) throw new Error(`${kernel.name}: binding ${name} is missing`);
        const tensor = bind[name];
        if (tensor) bound.add(tensor);
        return { binding, resource: tensor ? this.#binding(tensor) : { buffer: unused } };
      });
      if (kernel.params.length > 0) {
        const { bytes, at } = params[index];
        const resource = { buffer: uniform, offset: at, size: bytes.length };
        entries.push({ binding: kernel.types.indexOf('uniform'), resource });
      }
      return {
        label,
        kernel: kernel.name,
        variant: Object.entries(launch.constants ?? {})
          .map(([name, value]) => `${name}=${value}`)
          .join(' '),
        pipeline: pipelines[index],
        bindGroup: device.createBindGroup({ label, layout: device.pipelines.layout(kernel.types), entries }),
        workgroups: foldWorkgroups(launch.workgroups, maxWorkgroups),
        flops: launch.flops ?? 0,
        bytes: [...bound].reduce((sum, tensor) => sum + tensor.size * 4, 0),
      };
    });
  }

  #submit(steps: readonly BoundLaunch[]): void {
    const budget = this.device.capabilities.software ? SUBMIT_FLOPS.software : SUBMIT_FLOPS.hardware;
    let next = 0;
    while (next < steps.length) {
      const encoder = this.device.gpu.createCommandEncoder();
      const pass = encoder.beginComputePass();
      let flops = 0;
      let previous: BoundLaunch | undefined;
      do {
        const step = steps[next++];
        encode(pass, step, previous);
        previous = step;
        flops += step.flops;
      } while (next < steps.length && flops + steps[next].flops <= budget);
      pass.end();
      this.device.gpu.queue.submit([encoder.finish()]);
    }
  }
}

/** Every call costs about a microsecond of the host: what the step before it has set is not set again. */
function encode(pass: GPUComputePassEncoder, step: BoundLaunch, previous?: BoundLaunch): void {
  if (step.pipeline !== previous?.pipeline) pass.setPipeline(step.pipeline);
  pass.setBindGroup(0, step.bindGroup);
  pass.dispatchWorkgroups(...step.workgroups);
}

/** A linear count of workgroups as a grid within the limit of 65 535 a dimension. May launch a few too many: kernels check. */
export function foldWorkgroups(count: Launch['workgroups'], most = MAX_WORKGROUPS): readonly [number, number, number] {
  if (typeof count !== 'number') {
    if (count.some((extent) => extent > MAX_WORKGROUPS))
      throw new Error(`${count.join('x')} workgroups exceed ${MAX_WORKGROUPS} a dimension`);
    return count;
  }
  if (count <= most) return [Math.max(1, count), 1, 1];
  const y = Math.ceil(count / most);
  return [Math.ceil(count / y), y, 1];
}

function refuseWhatDoesNotFit(device: Device, plan: Plan, tape: Tape, name: string): void {
  for (const tensor of [...plan.places.keys(), ...tape.inputs]) {
    if (tensor.bytes > device.capabilities.tensorBytes) {
      throw new DeviceError(
        `${name}: ${tensor.name} ${show(tensor.shape)} needs ${tensor.bytes} bytes, ${device.name} binds at most ${device.capabilities.tensorBytes}: use a smaller batch`,
      );
    }
  }
  if (device.liveBytes + plan.bytes > device.memoryLimitBytes) {
    throw new DeviceError(
      `${name} needs ${plan.bytes} bytes beside ${device.liveBytes} in use; the limit is ${device.memoryLimitBytes}: use a smaller batch`,
    );
  }
}
