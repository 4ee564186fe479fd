import { createMomenta, recordDescent } from 'radioactive';
import { type Device, Model, Program, Tape } from 'radioactive/engine';
import type { SafetensorsTensor, TensorData } from 'radioactive/formats';
import { nchwToNhwc } from '../../layout.ts';
import { golden } from './golden.ts';
import { goldenNetwork } from './golden_network.ts';
import { type Runtime, withDevice } from './program.ts';

/** [step, parameter, its element as PyTorch has it, by how much] */
type Nudge = readonly [number, string, number, number];

export interface Descent {
  readonly lr: number;
  readonly momentum: number;
  readonly weight_decay: number;
  readonly steps: number;
}

export interface Trained {
  /** One a step. */
  readonly losses: Float64Array;
  readonly weights: Readonly<Record<string, Float32Array>>;
}

/**
 * Trains as PyTorch did for test/golden/resnet18_train: from its initial weights on its batches, nudged (golden-resnet.test.ts says
 * why). `change` trains otherwise.
 */
export async function followFixture(
  device: Device,
  load: Runtime['load'],
  change: Partial<Descent> = {},
): Promise<Trained> {
  const file = await golden(load, 'resnet18_train');
  const nudges: readonly Nudge[] = JSON.parse(new TextDecoder().decode(await load('resnet18_train_nudges.json')));
  const recipe = { ...(JSON.parse(file.metadata.train) as Descent), ...change };
  const [, N, C, H, W] = file.shape('x');
  const images = file.float32('x');
  const targets = file.integers('target');
  const model = await Model.load(device, goldenNetwork, stateDict(file.tensors, 'init/'), 'resnet18_train');
  const parameters = new Map(model.trainable().map((parameter) => [parameter.spec.name, parameter]));
  const momenta = await createMomenta(model, false);
  const tape = new Tape(device, { precision: 'f32' });
  const x = tape.input('x', [N, H, W, C]);
  const labels = tape.input('labels', [N], 'u32');
  const learningRate = tape.input('learning rate', [1]);
  const logits = model.logits(model.features(x, { training: true }));
  const loss = recordDescent(model, { logits, labels, learningRate }, momenta, {
    momentum: recipe.momentum,
    weightDecay: recipe.weight_decay,
    nesterov: false,
  });
  const program = await Program.build(device, tape, { name: 'training', outputs: [loss], guard: true });
  program.write(learningRate, Float32Array.of(recipe.lr));

  const nudge = async (step: number, sign: 1 | -1): Promise<void> => {
    for (const [when, name, element, by] of nudges) {
      if (when !== step) continue;
      const parameter = parameters.get(name)!;
      const values = await parameter.read();
      values[element] += sign * by;
      parameter.write(values);
    }
  };
  const losses = new Float64Array(recipe.steps);
  for (let step = 0; step < recipe.steps; step++) {
    await nudge(step, 1);
    program.write(x, nchwToNhwc(images.slice(step * N * C * H * W, (step + 1) * N * C * H * W), [N, C, H, W]));
    program.write(labels, Uint32Array.from(targets.slice(step * N, (step + 1) * N)));
    await program.run();
    losses[step] = (await program.read(loss))[0];
    await nudge(step, -1);
  }
  await program.checkGuards();
  const weights = [...(await model.stateDict())].filter(([, { dtype }]) => dtype === 'F32');
  program.destroy();
  model.destroy();
  for (const variable of momenta.values()) variable.destroy();
  return {
    losses,
    weights: Object.fromEntries(weights.map(([name, { data }]: [string, TensorData]) => [name, data as Float32Array])),
  };
}

/** The tensors under a prefix, as a state dict. */
function stateDict(tensors: ReadonlyMap<string, SafetensorsTensor>, prefix: string): Map<string, SafetensorsTensor> {
  return new Map(
    [...tensors]
      .filter(([name]) => name.startsWith(prefix))
      .map(([name, tensor]) => [name.slice(prefix.length), tensor]),
  );
}

export default async function program({ adapter, load }: Runtime): Promise<Trained> {
  return await withDevice(adapter, (device) => followFixture(device, load));
}
