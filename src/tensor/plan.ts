import type { Capabilities } from '../gpu/device.ts';
import { type BufferLimits, type Lifetime, mostAlive, type Place, placeTensors } from './placement.ts';
import type { Launch, Node, Tape } from './tape.ts';
import type { Shape, Tensor } from './tensor.ts';

/** What runs, in which order, and where every tensor lies. */
export interface Plan {
  /** Nodes whose values do not change between replays. */
  readonly prologue: readonly Node[];
  /** Nodes of every replay, in order. */
  readonly steps: readonly Node[];
  /** Of each node, in order. */
  readonly launches: ReadonlyMap<Node, readonly Launch[]>;
  /** Variables the prologue reads. */
  readonly constantVariables: readonly Tensor[];
  /** Bytes of each buffer. */
  readonly buffers: readonly number[];
  /** Where each tensor lies that is neither input nor variable, scratch included. */
  readonly places: ReadonlyMap<Tensor, Place>;
  /** All buffers together, inputs included. */
  readonly bytes: number;
  /** The most bytes alive at once, inputs included: no plan of this order can take less. */
  readonly lowerBoundBytes: number;
}

/** What a plan is made for. */
export interface PlanTarget extends BufferLimits {
  readonly capabilities: Capabilities;
}

/**
 * Plans a tape: drops nodes nothing depends on, moves constant nodes to a prologue and updates forward, and lets tensors share
 * memory when no launch needs both. Tensors that one launch reads and writes lie in different buffers, because WebGPU forbids
 * both uses of one buffer in the same dispatch, even of ranges that do not overlap.
 */
export function planMemory(tape: Tape, outputs: readonly Tensor[], target: PlanTarget): Plan {
  const { prologue, steps } = schedule(tape, outputs);
  const launches = new Map([...prologue, ...steps].map((node) => [node, launchesOf(tape, node, target.capabilities)]));
  const launchesIn = (nodes: readonly Node[]): Launch[] => nodes.flatMap((node) => launches.get(node)!);
  const { lifetimes, apart } = analyse(tape, outputs, launchesIn(prologue), launchesIn(steps));
  const { buffers, places } = placeTensors(lifetimes, apart, target);
  const inputBytes = tape.inputs.reduce((sum, input) => sum + input.bytes, 0);
  return {
    prologue,
    steps,
    launches,
    constantVariables: [
      ...new Set(
        prologue.flatMap((node) => node.inputs.filter((input) => input && tape.variables.has(input)) as Tensor[]),
      ),
    ],
    buffers,
    places,
    bytes: buffers.reduce((sum, bytes) => sum + bytes, 0) + inputBytes,
    lowerBoundBytes: mostAlive(lifetimes) + inputBytes,
  };
}

/** The nodes that are needed, those apart that compute the same in every replay. */
function schedule(tape: Tape, outputs: readonly Tensor[]): Pick<Plan, 'prologue' | 'steps'> {
  const producer = new Map<Tensor, Node>();
  for (const node of tape.nodes) for (const result of node.results) producer.set(result, node);

  const needed = new Set<Node>();
  const visit = (tensor: Tensor | undefined): void => {
    const node = tensor && producer.get(tensor);
    if (node && !needed.has(node)) need(node);
  };
  const need = (node: Node): void => {
    needed.add(node);
    node.inputs.forEach(visit);
  };
  for (const node of tape.nodes) if (node.updates?.length && !needed.has(node)) need(node);
  outputs.forEach(visit);
  const nodes = finishTogether(
    tape.nodes.filter((node) => needed.has(node)),
    outputs,
  );

  const updated = new Set(nodes.flatMap((node) => node.updates ?? []));
  const varying = new Set<Tensor>([...tape.inputs, ...updated]);
  const prologue: Node[] = [];
  const steps: Node[] = [];
  for (const node of nodes) {
    const constant = !node.updates?.length && node.inputs.every((input) => !input || !varying.has(input));
    if (!constant) for (const result of node.results) varying.add(result);
    (constant ? prologue : steps).push(node);
  }
  return { prologue, steps: updatesForward(steps) };
}

/**
 * Sums and gradients of ReLUs go into the pass that writes what they are applied to, where it is written for them alone: one tensor
 * less to store and to load again, for each.
 */
function finishTogether(nodes: readonly Node[], outputs: readonly Tensor[]): Node[] {
  const uses = new Map<Tensor, number>();
  for (const tensor of [...nodes.flatMap(({ inputs }) => inputs), ...outputs])
    if (tensor) uses.set(tensor, (uses.get(tensor) ?? 0) + 1);
  const producer = new Map<Tensor, Node>();
  const updated = new Map<Tensor, number>();
  const recorded = new Map<Node, number>();
  const together = new Set<Node>();
  nodes.forEach((node, time) => {
    let kept = node;
    for (const { of, ...finish } of node.finish ?? []) {
      const maker = producer.get(of);
      if (!maker?.finishes || uses.get(of) !== 1 || maker.finishing?.gate) continue;
      if (finish.residual && maker.finishing?.residual) continue;
      // It runs later than recorded, which must make no difference.
      if (maker.inputs.some((input) => input && (updated.get(input) ?? -1) > recorded.get(maker)!)) continue;
      together.delete(maker);
      const others = Object.values(finish);
      kept = {
        ...maker,
        inputs: [...maker.inputs, ...others],
        results: node.results,
        finishing: { ...maker.finishing, ...finish },
      };
      break;
    }
    together.add(kept);
    recorded.set(kept, time);
    for (const result of kept.results) producer.set(result, kept);
    for (const tensor of kept.updates ?? []) updated.set(tensor, time);
  });
  return [...together];
}

/**
 * Nodes that only update variables run as soon as all before them that touch the same tensors have run: an optimiser then
 * takes each gradient when it is there, and not all of them have to be kept to the end.
 */
function updatesForward(nodes: readonly Node[]): Node[] {
  const lastRead = new Map<Tensor, number>();
  const lastWrite = new Map<Tensor, number>();
  const timed = nodes.map((node, index) => {
    const reads = node.inputs.filter((input) => input !== undefined);
    const writes = [...node.results, ...(node.updates ?? [])];
    const before = [...reads, ...writes].map((tensor) => lastWrite.get(tensor) ?? -1);
    before.push(...writes.map((tensor) => lastRead.get(tensor) ?? -1));
    const time = node.results.length > 0 ? index : Math.max(...before);
    for (const tensor of reads) lastRead.set(tensor, Math.max(time, lastRead.get(tensor) ?? -1));
    for (const tensor of writes) lastWrite.set(tensor, Math.max(time, lastWrite.get(tensor) ?? -1));
    return { node, time };
  });
  return timed.sort((a, b) => a.time - b.time).map(({ node }) => node);
}

function launchesOf(tape: Tape, node: Node, capabilities: Capabilities): readonly Launch[] {
  const scratch = (shape: Shape): Tensor => tape.tensor(`${node.label}/scratch`, shape);
  const { precision } = tape;
  return node.launches({ capabilities, precision, scratch, finish: node.finishing ?? {} }, node.results);
}

/** When tensors that are neither input nor variable live, and which of them one launch reads and the other writes. */
function analyse(
  tape: Tape,
  outputs: readonly Tensor[],
  prologue: readonly Launch[],
  steps: readonly Launch[],
): { lifetimes: Map<Tensor, Lifetime>; apart: Map<Tensor, Set<Tensor>> } {
  const elsewhere = new Set<Tensor>([...tape.inputs, ...tape.variables.keys()]);
  const lifetimes = new Map<Tensor, Lifetime>();
  const apart = new Map<Tensor, Set<Tensor>>();
  const end = prologue.length + steps.length;
  [...prologue, ...steps].forEach(({ kernel, bind }, time) => {
    const bound = kernel.bindings.flatMap(({ name, writable }) => {
      const tensor = bind[name];
      return tensor && !elsewhere.has(tensor) ? [{ tensor, writable }] : [];
    });
    for (const { tensor, writable } of bound) {
      const first = lifetimes.get(tensor)?.first ?? time;
      // What the steps read of the prologue is there for the next replay too.
      lifetimes.set(tensor, { first, last: first < prologue.length && time >= prologue.length ? end : time });
      const others = apart.get(tensor) ?? new Set();
      for (const other of bound) if (other.writable !== writable) others.add(other.tensor);
      apart.set(tensor, others);
    }
  });
  for (const output of outputs) {
    const lifetime = lifetimes.get(output);
    if (lifetime) lifetimes.set(output, { first: lifetime.first, last: end });
  }
  return { lifetimes, apart };
}
