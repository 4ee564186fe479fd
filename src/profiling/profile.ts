import type { Program, StepProfile } from '../tensor/program.ts';
import { type Ceilings, requireTimestamps } from './ceilings.ts';
import { median, type Prepared, replaysToTime, wallClockMs } from './prepared.ts';

/** One launch of a step, in the order they run. */
export interface ProfiledLaunch extends StepProfile {
  /** Where in the network it belongs, in words: `layer1.0.conv1`, `layer1.0.conv1 gradient`. */
  readonly layer: string;
}

export interface StepTimes {
  readonly launches: readonly ProfiledLaunch[];
  /** All launches together. */
  readonly launchesMs: number;
  /** Wall clock of a replay without timestamps, while others follow. */
  readonly replayMs: number;
  /** The host's time to encode the commands of one replay. */
  readonly encodeMs: number;
  /** The host's time to hand them to the driver; a software adapter computes meanwhile. */
  readonly submitMs: number;
}

/**
 * Takes the times of a prepared step: medians over `repeat` rounds, in each of which every kind of measurement has a turn.
 * Throws AdapterError where the adapter takes no GPU timestamps.
 */
export async function profileStep(
  { program }: Prepared,
  repeat: number,
  { signal, onProgress }: { readonly signal?: AbortSignal; readonly onProgress?: (rounds: number) => void } = {},
): Promise<StepTimes> {
  const { device } = program;
  requireTimestamps(device);
  const replays = await replaysToTime(device, program);
  const profiles: StepProfile[][] = [];
  const replayMs: number[] = [];
  const host: { encodeMs: number; submitMs: number }[] = [];
  for (let round = 0; round < repeat; round++) {
    signal?.throwIfAborted();
    await device.idle();
    host.push(await hostTimes(program));
    await device.idle();
    replayMs.push(await wallClockMs(device, program, replays));
    profiles.push(await program.profile());
    onProgress?.(round + 1);
  }
  const layers = layersOf(profiles[0].map(({ label }) => label));
  const launches = profiles[0].map((launch, index) => ({
    ...launch,
    layer: layers[index],
    timeMs: median(profiles.map((profile) => profile[index].timeMs)),
  }));
  return {
    launches,
    launchesMs: total(launches, 'timeMs'),
    replayMs: median(replayMs),
    encodeMs: median(host.map(({ encodeMs }) => encodeMs)),
    submitMs: median(host.map(({ submitMs }) => submitMs)),
  };
}

async function hostTimes(program: Program): Promise<{ encodeMs: number; submitMs: number }> {
  const { queue } = program.device.gpu;
  const submit = queue.submit;
  let submitMs = 0;
  queue.submit = (commands) => {
    const start = performance.now();
    submit.call(queue, commands);
    submitMs += performance.now() - start;
  };
  const start = performance.now();
  const running = program.run();
  // `run` has submitted everything when it returns its promise.
  const encodeMs = performance.now() - start - submitMs;
  delete (queue as Partial<GPUQueue>).submit;
  await running;
  return { encodeMs, submitMs };
}

/**
 * The layer of each label: its innermost scope, or the operator itself where that scope holds layers too. What the gradient of
 * a layer takes is a row of its own.
 */
export function layersOf(labels: readonly string[]): string[] {
  const parts = labels.map((label) => {
    const [operator, gradient] = label.split('.backward/') as [string, string?];
    return { operator, scope: operator.slice(0, Math.max(0, operator.lastIndexOf('/'))), gradient };
  });
  const scopes = [...new Set(parts.map(({ scope }) => scope))];
  const outer = new Set(scopes.filter((scope) => scopes.some((other) => other.startsWith(`${scope}/`))));
  return parts.map(({ operator, scope, gradient }) => {
    const layer = scope === '' || outer.has(scope) ? operator : scope;
    return gradient === undefined ? layer : `${layer} gradient`;
  });
}

/** Launches taken together, with what they reached of the adapter's ceilings. */
export interface ProfileRow {
  /** The kernel's name, or the layer's. */
  readonly name: string;
  /** Each kernel that was launched, with the constants that make its variant; the one that took longest first. */
  readonly kernels: readonly { readonly kernel: string; readonly variant: string }[];
  readonly calls: number;
  readonly timeMs: number;
  /** Of the time of all launches. */
  readonly timeShare: number;
  readonly flops: number;
  /** Of all tensors of a launch, each counted once. */
  readonly bytes: number;
  readonly gflops: number;
  readonly gbps: number;
  /** Of the ceiling for multiply-adds. */
  readonly computeShare: number;
  /** Of the ceiling for copying; above 1 where a cache delivers. */
  readonly bandwidthShare: number;
  /** The larger of the two: how close to the roofline. */
  readonly ceilingShare: number;
  readonly limit: 'compute' | 'bandwidth';
}

/** Groups launches by kernel and variant or by layer; the longest first. */
export function groupLaunches(
  launches: readonly ProfiledLaunch[],
  by: 'kernel' | 'layer',
  ceilings: Ceilings,
): ProfileRow[] {
  const groups = groupBy(launches, by === 'layer' ? ({ layer }) => layer : launchVariant);
  const allMs = total(launches, 'timeMs');
  const rows = groups.map((group): ProfileRow => {
    const [flops, bytes, timeMs] = [total(group, 'flops'), total(group, 'bytes'), total(group, 'timeMs')];
    const [gflops, gbps] = [perSecond(flops, timeMs), perSecond(bytes, timeMs)];
    const [computeShare, bandwidthShare] = [gflops / ceilings.gflops, gbps / ceilings.gbps];
    return {
      name: group[0][by],
      kernels: groupBy(group, launchVariant)
        .sort((a, b) => total(b, 'timeMs') - total(a, 'timeMs'))
        .map(([{ kernel, variant }]) => ({ kernel, variant })),
      calls: group.length,
      timeMs,
      timeShare: allMs > 0 ? timeMs / allMs : 0,
      flops,
      bytes,
      gflops,
      gbps,
      computeShare,
      bandwidthShare,
      ceilingShare: Math.max(computeShare, bandwidthShare),
      limit: computeShare >= bandwidthShare ? 'compute' : 'bandwidth',
    };
  });
  return rows.sort((a, b) => b.timeMs - a.timeMs);
}

type Group = [ProfiledLaunch, ...ProfiledLaunch[]];

const launchVariant = ({ kernel, variant }: ProfiledLaunch): string => `${kernel} ${variant}`;

/** Launches with the same key together, in the order of their first. */
function groupBy(launches: readonly ProfiledLaunch[], keyOf: (launch: ProfiledLaunch) => string): Group[] {
  const groups = new Map<string, Group>();
  for (const launch of launches) {
    const key = keyOf(launch);
    const group = groups.get(key);
    if (group) group.push(launch);
    else groups.set(key, [launch]);
  }
  return [...groups.values()];
}

/** 10⁹ a second. A launch may be shorter than the adapter's clock can tell. */
const perSecond = (amount: number, timeMs: number): number => (timeMs > 0 ? amount / timeMs / 1e6 : 0);

function total(launches: readonly ProfiledLaunch[], of: 'timeMs' | 'flops' | 'bytes'): number {
  return launches.reduce((sum, launch) => sum + launch[of], 0);
}
