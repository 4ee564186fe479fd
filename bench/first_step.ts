import type { Device } from '../src/gpu/device.ts';
import { initialStateDict, Model } from '../src/nn/model.ts';
import type { NetworkConfig } from '../src/nn/networks.ts';
import type { Context } from '../src/node/cli/command.ts';
import { wallClockMs } from '../src/profiling/prepared.ts';
import { prepareStep, type StepName, stepNames } from '../src/profiling/steps.ts';
import type { Program } from '../src/tensor/program.ts';
import { settings } from './steps.ts';

/** A step on a device that has compiled nothing yet, in milliseconds. */
export interface FirstStep {
  readonly case: string;
  readonly adapter: string;
  /** Finding the adapter and opening a device. */
  readonly openMs: number;
  /** Checking the weights and writing them to the device. */
  readonly loadMs: number;
  readonly buildMs: Program['buildMs'];
  /** The rest: writing the inputs, the prologue, the first replay, and what the driver compiles no sooner than it runs. */
  readonly firstRunMs: number;
  readonly totalMs: number;
  /** A replay after that. */
  readonly laterRunMs: number;
}

/** Keeps drivers from taking what they compiled in an earlier process from disk. */
export function disableDriverCaches(): void {
  Object.assign(process.env, { MESA_SHADER_CACHE_DISABLE: 'true', __GL_SHADER_DISK_CACHE: '0' });
}

/** A step to take for the first time. */
export interface FirstStepCase {
  readonly name: string;
  readonly config: NetworkConfig;
  readonly step: StepName;
  readonly batch: number;
}

/** Every step of every setting. */
export const firstStepCases: readonly FirstStepCase[] = settings.flatMap(({ name, config, batch }) =>
  stepNames.map((step) => ({ name: `${step} ${name}`, config, step, batch })),
);

/** Each case on a device of its own, from opening it to the end of the first step. */
export async function measureFirstSteps(
  openDevice: () => Promise<Device>,
  cases: readonly FirstStepCase[],
  { signal, progress }: Pick<Context<unknown>, 'signal' | 'progress'>,
): Promise<FirstStep[]> {
  const display = progress('first steps', cases.length, 'cases');
  const rows: FirstStep[] = [];
  for (const firstStepCase of cases) {
    signal.throwIfAborted();
    rows.push(await measureFirstStep(openDevice, firstStepCase));
    display.update(rows.length);
  }
  display.done();
  return rows;
}

async function measureFirstStep(
  openDevice: () => Promise<Device>,
  { name, config, step, batch }: FirstStepCase,
): Promise<FirstStep> {
  const weights = initialStateDict(config, 0);
  const start = performance.now();
  const device = await openDevice();
  try {
    const openMs = performance.now() - start;
    const model = await Model.load(device, config, weights, 'fresh weights');
    await device.idle();
    const loadMs = performance.now() - start - openMs;
    const { program } = await prepareStep(model, step, batch);
    await device.idle();
    const totalMs = performance.now() - start;
    const { buildMs } = program;
    const firstRunMs = totalMs - openMs - loadMs - Object.values(buildMs).reduce((sum, ms) => sum + ms, 0);
    const laterRunMs = await wallClockMs(device, program, 1);
    return { case: name, adapter: device.name, openMs, loadMs, buildMs, firstRunMs, totalMs, laterRunMs };
  } finally {
    // All that was made on it goes with it.
    device.destroy();
  }
}
