import type { Tensor } from './tensor.ts';

/** When a tensor holds a value: from launch `first` to launch `last`, both included. */
export interface Lifetime {
  readonly first: number;
  readonly last: number;
}

/** Where a tensor lies: a buffer, and the byte it begins at. */
export interface Place {
  /** Index of the buffer. */
  readonly buffer: number;
  /** Bytes from its start. */
  readonly offset: number;
}

export interface BufferLimits {
  /** Tensors begin at multiples of this: `minStorageBufferOffsetAlignment`. */
  readonly alignmentBytes: number;
  /** A buffer that is shared grows no larger. 0: no buffer is shared. */
  readonly maxBufferBytes: number;
}

interface Resident extends Lifetime, Place {
  readonly tensor: Tensor;
}

/**
 * Places tensors in buffers so that those that live at the same time do not overlap, and those `apart` from each other share
 * no buffer. All lifetimes are known, so the largest go first, each into the buffer that has to grow least for it, into the
 * smallest gap there between what lives at the same time; a tensor that no buffer saves anything for gets one of its own.
 * (Greedy by size: Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020, here with several
 * arenas.) Where those that live long stand in the way of others it is better to place them first, and along a chain of layers often the
 * earliest: several orders are tried, then some by chance where none came close, and the one that takes least is kept. Returns the bytes of each buffer and the place of each tensor.
 */
export function placeTensors(
  lifetimes: ReadonlyMap<Tensor, Lifetime>,
  apart: ReadonlyMap<Tensor, ReadonlySet<Tensor>>,
  limits: BufferLimits,
): { buffers: number[]; places: Map<Tensor, Place> } {
  const tensors = [...lifetimes];
  const span = ({ first, last }: Lifetime): number => last - first + 1;
  const byWeight = (power: number, vary: (index: number) => number = () => 1) => {
    const weights = new Map(
      tensors.map(([tensor, lifetime], index) => [tensor, tensor.bytes * span(lifetime) ** power * vary(index)]),
    );
    return tensors.toSorted(([a], [b]) => weights.get(b)! - weights.get(a)!);
  };
  // Of sizes of one order of magnitude, by time.
  const magnitude = ({ bytes }: Tensor): number => Math.floor(Math.log(bytes) / Math.log(64));
  const byTime = tensors.toSorted(([a, { first }], [b, other]) => magnitude(b) - magnitude(a) || first - other.first);
  const place = (order: typeof tensors) => {
    const placed = placeInOrder(order, apart, limits);
    return { ...placed, bytes: placed.buffers.reduce((sum, bytes) => sum + bytes, 0) };
  };
  let best = [...[0, 0.25, 0.5, 1].map((power) => byWeight(power)), byTime]
    .map(place)
    .reduce((a, b) => (b.bytes < a.bytes ? b : a));
  const enough = CLOSE * mostAlive(lifetimes);
  for (let trial = 1; trial <= TRIALS && best.bytes > enough; trial++) {
    // Multiples of the golden ratio, modulo 1: the same for every plan of these tensors.
    const vary = (index: number): number => 2 ** (2 * ((trial * (index + 1) * 0.6180339887498949) % 1));
    const other = place(byWeight((trial % 4) / 4, vary));
    if (other.bytes < best.bytes) best = other;
  }
  return best;
}

/** Placements this close to the most that lives at once are good enough; so many orders by chance are tried for it. */
const CLOSE = 1.05;
const TRIALS = 48;

/** The most bytes that live at once: no placement takes less. */
export function mostAlive(lifetimes: ReadonlyMap<Tensor, Lifetime>): number {
  const changes: number[] = [];
  for (const [{ bytes }, { first, last }] of lifetimes) {
    changes[first] = (changes[first] ?? 0) + bytes;
    changes[last + 1] = (changes[last + 1] ?? 0) - bytes;
  }
  let alive = 0;
  let most = 0;
  for (const change of changes) {
    alive += change ?? 0;
    most = Math.max(most, alive);
  }
  return most;
}

function placeInOrder(
  order: readonly (readonly [Tensor, Lifetime])[],
  apart: ReadonlyMap<Tensor, ReadonlySet<Tensor>>,
  { alignmentBytes, maxBufferBytes }: BufferLimits,
): { buffers: number[]; places: Map<Tensor, Place> } {
  const buffers: { bytes: number; readonly residents: Resident[] }[] = [];
  const places = new Map<Tensor, Place>();
  for (const [tensor, { first, last }] of order) {
    let best = { buffer: buffers.length, offset: 0 };
    let leastGrowth = tensor.bytes;
    buffers.forEach(({ bytes, residents }, buffer) => {
      if (residents.some((other) => apart.get(tensor)?.has(other.tensor))) return;
      const beside = residents.filter((other) => other.first <= last && first <= other.last);
      const offset = smallestGap(beside, tensor.bytes, alignmentBytes);
      const growth = Math.max(0, offset + tensor.bytes - bytes);
      if (growth >= leastGrowth || offset + tensor.bytes > maxBufferBytes) return;
      best = { buffer, offset };
      leastGrowth = growth;
    });
    buffers[best.buffer] ??= { bytes: 0, residents: [] };
    const buffer = buffers[best.buffer];
    buffer.bytes = Math.max(buffer.bytes, best.offset + tensor.bytes);
    buffer.residents.push({ tensor, first, last, ...best });
    places.set(tensor, best);
  }
  return { buffers: buffers.map(({ bytes }) => bytes), places };
}

/** Where `bytes` fit between the residents with the least left over, else behind the last. */
function smallestGap(residents: readonly Resident[], bytes: number, alignmentBytes: number): number {
  let best = -1;
  let leastLeft = Number.POSITIVE_INFINITY;
  let end = 0;
  for (const { offset, tensor } of residents.toSorted((a, b) => a.offset - b.offset)) {
    const left = offset - end - bytes;
    if (left >= 0 && left < leastLeft) {
      best = end;
      leastLeft = left;
    }
    end = Math.max(end, Math.ceil((offset + tensor.bytes) / alignmentBytes) * alignmentBytes);
  }
  return best < 0 ? end : best;
}
