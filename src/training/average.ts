import type { Model } from '../nn/model.ts';
import { Parameter } from '../nn/parameter.ts';
import { movingAverage } from '../shaders/moving_average/moving_average.ts';
import { Program } from '../tensor/program.ts';
import { Tape } from '../tensor/tape.ts';
import type { Tensor } from '../tensor/tensor.ts';

/**
 * An exponential moving average of a model's weights and running statistics (`torch.optim.swa_utils.AveragedModel` with
 * `get_ema_avg_fn(decay)` and `use_buffers`): the first update takes the values, each later one a share of 1 − decay of them.
 */
export class WeightAverage {
  readonly #model: Model;
  readonly #averages: ReadonlyMap<string, Parameter>;
  readonly #program: Program;
  readonly #decay: { readonly input: Tensor; readonly value: number };
  #updates: number;

  private constructor(
    model: Model,
    averages: ReadonlyMap<string, Parameter>,
    program: Program,
    decay: { readonly input: Tensor; readonly value: number },
    updates: number,
  ) {
    this.#model = model;
    this.#averages = averages;
    this.#program = program;
    this.#decay = decay;
    this.#updates = updates;
  }

  /** Of all weights, or where features are frozen of the last layer's; `values` by parameter name are what to go on from. */
  static async create(
    model: Model,
    freezeFeatures: boolean,
    decay: number,
    values: ReadonlyMap<string, Float32Array> = new Map(),
  ): Promise<WeightAverage> {
    const averages = new Map<string, Parameter>();
    try {
      const tape = new Tape(model.device, { precision: 'f32' });
      const input = tape.input('decay', [1]);
      for (const { spec, parts } of freezeFeatures ? model.trainable(true) : model.parameters()) {
        const average = await Parameter.create(model.device, spec, values.get(spec.name), `${spec.name} average`);
        averages.set(spec.name, average);
        for (const [index, part] of parts.entries())
          movingAverage(tape.variable(average.parts[index]), tape.variable(part), input);
      }
      const program = await Program.build(model.device, tape, { name: 'weight average', outputs: [] });
      return new WeightAverage(model, averages, program, { input, value: decay }, values.size);
    } catch (error) {
      for (const average of averages.values()) average.destroy();
      throw error;
    }
  }

  /** Takes the model's weights in, as they are now. */
  async update(): Promise<void> {
    this.#program.write(this.#decay.input, Float32Array.of(this.#updates++ === 0 ? 0 : this.#decay.value));
    await this.#program.run();
  }

  /** The averages by parameter name, as PyTorch has them. */
  async read(): Promise<Map<string, Float32Array>> {
    const values = new Map<string, Float32Array>();
    for (const [name, average] of this.#averages) values.set(name, await average.read());
    return values;
  }

  /** Gives the model the averages for its weights. */
  async write(): Promise<void> {
    for (const parameter of this.#model.parameters()) {
      const average = this.#averages.get(parameter.spec.name);
      if (average) parameter.write(await average.read());
    }
  }

  /** Gives the memory on the device back; the model stays. */
  destroy(): void {
    this.#program.destroy();
    for (const average of this.#averages.values()) average.destroy();
  }
}
