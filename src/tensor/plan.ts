import type { Node, Tape } from './tape.ts';
import { bytesOf, type Tensor } from './tensor.ts';

/** What runs, in which order, and where every tensor lies. */
export interface Plan {
  /** Nodes whose values do not change between replays. */
  readonly prologue: readonly Node[];
  readonly steps: readonly Node[];
  /** Variables the prologue reads. */
  readonly constantVariables: readonly Tensor[];
  /** Bytes of each buffer. */
  readonly slots: readonly number[];
  /** The buffer of each tensor that is neither input nor variable. */
  readonly placement: ReadonlyMap<Tensor, number>;
  /** All buffers together, inputs included. */
  readonly bytes: number;
  /** The most bytes alive at once, inputs included: no plan can take less. */
  readonly lowerBoundBytes: number;
}

/**
 * Plans a tape: drops nodes nothing depends on, moves constant nodes to a prologue, and gives tensors with disjoint lifetimes
 * the same buffer (best fit, in order of execution). Buffers are separate rather than ranges of one arena because WebGPU
 * forbids reading and writing one buffer in the same dispatch.
 * `scratchOf` is called once a node, in order, and names its scratch tensors.
 */
export function planMemory(tape: Tape, outputs: readonly Tensor[], scratchOf: (node: Node) => readonly Tensor[]): Plan {
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
  const nodes = tape.nodes.filter((node) => needed.has(node));

  const updated = new Set(nodes.flatMap((node) => node.updates ?? []));
  const varying = new Set<Tensor>([...tape.inputs, ...updated]);
  const prologue: Node[] = [];
  const steps: Node[] = [];
  for (const node of nodes) {
    const constant = !node.updates?.length && node.inputs.every((input) => !input || !varying.has(input));
    if (!constant) for (const result of node.results) varying.add(result);
    (constant ? prologue : steps).push(node);
  }

  // Lifetimes in the order of execution. What the steps read of the prologue lives as long as the program, as outputs do.
  const order = [...prologue, ...steps];
  const lastUse = new Map<Tensor, number>();
  order.forEach((node, position) => {
    for (const tensor of [...node.inputs, ...node.results]) if (tensor) lastUse.set(tensor, position);
  });
  const forever = new Set<Tensor>(outputs);
  for (const node of steps)
    for (const input of node.inputs)
      if (input && producer.has(input) && prologue.includes(producer.get(input)!)) forever.add(input);

  const slots: number[] = [];
  const free: number[] = [];
  const placement = new Map<Tensor, number>();
  const take = (tensor: Tensor): void => {
    const bytes = bytesOf(tensor.shape);
    let best = -1;
    for (const slot of free) {
      const fits = slots[slot]! >= bytes;
      const bestFits = best >= 0 && slots[best]! >= bytes;
      // The smallest that is large enough, else the largest, which then grows.
      if (
        best < 0 ||
        (fits && (!bestFits || slots[slot]! < slots[best]!)) ||
        (!fits && !bestFits && slots[slot]! > slots[best]!)
      )
        best = slot;
    }
    if (best < 0 || (slots[best]! < bytes && slots[best]! * 4 < bytes)) {
      placement.set(tensor, slots.push(bytes) - 1);
      return;
    }
    free.splice(free.indexOf(best), 1);
    slots[best] = Math.max(slots[best]!, bytes);
    placement.set(tensor, best);
  };
  let live = 0;
  let lowerBound = 0;
  order.forEach((node, position) => {
    const scratch = scratchOf(node);
    for (const tensor of [...node.results, ...scratch]) {
      take(tensor);
      live += tensor.bytes;
    }
    lowerBound = Math.max(lowerBound, live);
    const release = (tensor: Tensor): void => {
      free.push(placement.get(tensor)!);
      live -= tensor.bytes;
    };
    scratch.forEach(release);
    const ending = new Set([...node.inputs, ...node.results].filter((tensor) => tensor !== undefined));
    for (const tensor of ending)
      if (placement.has(tensor) && lastUse.get(tensor) === position && !forever.has(tensor)) release(tensor);
  });

  const inputBytes = tape.inputs.reduce((sum, input) => sum + input.bytes, 0);
  return {
    prologue,
    steps,
    constantVariables: [
      ...new Set(
        prologue.flatMap((node) => node.inputs.filter((input) => input && tape.variables.has(input)) as Tensor[]),
      ),
    ],
    slots,
    placement,
    bytes: slots.reduce((sum, bytes) => sum + bytes, 0) + inputBytes,
    lowerBoundBytes: lowerBound + inputBytes,
  };
}
