/** Compiled pipelines, keyed by the full source: the same kernel with the same constants is compiled once a device. */
export class PipelineCache {
  readonly #gpu: GPUDevice;
  readonly #pipelines = new Map<string, Promise<GPUComputePipeline>>();
  readonly #layouts = new Map<string, GPUBindGroupLayout>();
  /** Pipelines compiled since the device was opened. */
  compiled = 0;

  constructor(gpu: GPUDevice) {
    this.#gpu = gpu;
  }

  /** One explicit layout per row of binding types, so that a binding a variant does not use may still be given. */
  layout(types: readonly GPUBufferBindingType[]): GPUBindGroupLayout {
    const key = types.join();
    let layout = this.#layouts.get(key);
    if (!layout) {
      layout = this.#gpu.createBindGroupLayout({
        entries: types.map((type, binding) => ({ binding, visibility: GPUShaderStage.COMPUTE, buffer: { type } })),
      });
      this.#layouts.set(key, layout);
    }
    return layout;
  }

  /**
   * Compiles in the background; ask for many, then await them together.
   * Throws with the kernel's name, line, column and source line when the WGSL does not compile, and with the kernel's name when the
   * device cannot make a pipeline of it.
   */
  get(label: string, code: string, types: readonly GPUBufferBindingType[]): Promise<GPUComputePipeline> {
    let pipeline = this.#pipelines.get(code);
    if (!pipeline) {
      pipeline = this.#compile(label, code, types);
      this.#pipelines.set(code, pipeline);
    }
    return pipeline;
  }

  async #compile(label: string, code: string, types: readonly GPUBufferBindingType[]): Promise<GPUComputePipeline> {
    this.compiled++;
    this.#gpu.pushErrorScope('validation');
    const module = this.#gpu.createShaderModule({ code, label });
    const scope = this.#gpu.popErrorScope();
    const info = await module.getCompilationInfo();
    const error = info.messages.find((message) => message.type === 'error');
    await scope;
    if (error) {
      const line = code.split('\n')[error.lineNum - 1] ?? '';
      throw new Error(
        `${label}:${error.lineNum}:${error.linePos}: ${error.message}\n${line}\n${' '.repeat(Math.max(0, error.linePos - 1))}^`,
      );
    }
    const layout = this.#gpu.createPipelineLayout({ bindGroupLayouts: [this.layout(types)] });
    const descriptor = { label, layout, compute: { module, entryPoint: 'main' } };
    try {
      return await this.#gpu.createComputePipelineAsync(descriptor);
    } catch {
      // Some runtimes have the asynchronous call and always throw (releases of Deno did). Where the pipeline itself is at fault, this
      // fails too.
      return await this.#createNow(descriptor);
    }
  }

  async #createNow(descriptor: GPUComputePipelineDescriptor): Promise<GPUComputePipeline> {
    this.#gpu.pushErrorScope('internal');
    this.#gpu.pushErrorScope('validation');
    const pipeline = this.#gpu.createComputePipeline(descriptor);
    const [invalid, internal] = await Promise.all([this.#gpu.popErrorScope(), this.#gpu.popErrorScope()]);
    const failed = invalid ?? internal;
    if (failed) throw new Error(`${descriptor.label}: ${failed.message}`);
    return pipeline;
  }
}
