import { sizeOf, uniform } from './inputs.mjs';
import { operatorInputs, shapesOf, stateDict, stepInputs } from './works.mjs';

/**
 * What results are held against. An operator's sampled elements are computed here in float64 by the definition. A network's
 * come from PyTorch in float64 where it takes part, else from the first implementation that ran.
 */

/** Largest error accepted. Operators and logits: relative to the largest reference value; updates: relative L2 of a tensor. */
const TOLERANCE = { matmul: 2e-4, conv2d: 2e-4, forward: 1e-3, train: 2e-2, mark: 2e-2 };
/** Of a loss, relative. */
const LOSS_TOLERANCE = 1e-3;

/** The elements to look at, by tensor: corners and a seeded sample. */
export function samplesOf(work) {
  const sample = (label, size, count) => {
    if (size <= count) return Array.from({ length: size }, (_, i) => i);
    return [0, size - 1, ...Array.from(uniform(`sample ${label}`, count - 2, 0, 1), (u) => Math.floor(u * (size - 1)))];
  };
  if (work.kind === 'forward') return { logits: sample('logits', work.batch * work.network.classes, 4096) };
  if (work.kind === 'mark') return { image: sample('image', stepInputs(work).levels.length, 4096) };
  if (work.kind === 'train')
    return Object.fromEntries(
      [...stateDict(work.network)]
        .filter(([, { trainable }]) => trainable)
        .map(([name, { shape }]) => [name, sample(name, sizeOf(shape), 256)]),
    );
  const { output } = shapesOf(work);
  const indices = new Set(sample('output', sizeOf(output), 2000));
  if (work.kind === 'conv2d') for (const index of corners(output)) indices.add(index);
  return { output: [...indices] };
}

/** The four corners of the first and last image and channel: where padding is. */
function corners([N, C, H, W]) {
  const ends = (extent) => [0, extent - 1];
  return ends(N).flatMap((n) =>
    ends(C).flatMap((c) => ends(H).flatMap((h) => ends(W).map((w) => ((n * C + c) * H + h) * W + w))),
  );
}

/** An operator's sampled elements in float64. */
export function operatorReference(work, samples) {
  const inputs = operatorInputs(work);
  const element = work.kind === 'matmul' ? matmulElement : { forward, dx, dweight }[work.pass];
  return { source: 'float64', values: { output: samples.output.map((index) => element(work, inputs, index)) } };
}

function matmulElement({ k, n }, { a, b }, index) {
  const row = Math.floor(index / n);
  const column = index % n;
  let sum = 0;
  for (let i = 0; i < k; i++) sum += a[row * k + i] * b[i * n + column];
  return sum;
}

function forward({ c, h, w, oc, k, stride, pad, oh, ow }, { x, weight }, index) {
  const [n, o, y0, x0] = unravel(index, [oc, oh, ow]);
  let sum = 0;
  for (let ci = 0; ci < c; ci++)
    for (let ky = 0; ky < k; ky++)
      for (let kx = 0; kx < k; kx++) {
        const iy = y0 * stride - pad + ky;
        const ix = x0 * stride - pad + kx;
        if (iy < 0 || iy >= h || ix < 0 || ix >= w) continue;
        sum += x[((n * c + ci) * h + iy) * w + ix] * weight[((o * c + ci) * k + ky) * k + kx];
      }
  return sum;
}

function dx({ c, h, w, oc, k, stride, pad, oh, ow }, { weight, dy }, index) {
  const [n, ci, iy, ix] = unravel(index, [c, h, w]);
  let sum = 0;
  for (let ky = 0; ky < k; ky++)
    for (let kx = 0; kx < k; kx++) {
      const y0 = (iy + pad - ky) / stride;
      const x0 = (ix + pad - kx) / stride;
      if (!Number.isInteger(y0) || !Number.isInteger(x0) || y0 < 0 || y0 >= oh || x0 < 0 || x0 >= ow) continue;
      for (let o = 0; o < oc; o++)
        sum += dy[((n * oc + o) * oh + y0) * ow + x0] * weight[((o * c + ci) * k + ky) * k + kx];
    }
  return sum;
}

function dweight({ n: N, c, h, w, oc, k, stride, pad, oh, ow }, { x, dy }, index) {
  const [o, ci, ky, kx] = unravel(index, [c, k, k]);
  let sum = 0;
  for (let n = 0; n < N; n++)
    for (let y0 = 0; y0 < oh; y0++) {
      const iy = y0 * stride - pad + ky;
      if (iy < 0 || iy >= h) continue;
      for (let x0 = 0; x0 < ow; x0++) {
        const ix = x0 * stride - pad + kx;
        if (ix < 0 || ix >= w) continue;
        sum += x[((n * c + ci) * h + iy) * w + ix] * dy[((n * oc + o) * oh + y0) * ow + x0];
      }
    }
  return sum;
}

/** The four coordinates of a flat index, given the extents of all but the first dimension. */
function unravel(index, [b, c, d]) {
  return [Math.floor(index / (b * c * d)), Math.floor(index / (c * d)) % b, Math.floor(index / d) % c, index % d];
}

/**
 * Compares a result { values: { tensor: numbers }, losses } with a reference of the same form. Throws Error saying what is wrong
 * where it is; returns the largest error beside the tolerance. `factor` widens it for what is meant to be
 * less precise; of a training step only the losses count then.
 */
export function compare(work, samples, result, reference, factor = 1) {
  const tolerance = TOLERANCE[work.kind] * factor;
  const before = initialValues(work);
  let error = 0;
  for (const [name, indices] of work.kind === 'train' && factor > 1 ? [] : Object.entries(samples)) {
    const expected = reference.values[name];
    const actual = result.values[name];
    if (actual?.length !== indices.length || expected.length !== indices.length)
      throw new Error(`${name}: ${actual?.length} values instead of ${indices.length}`);
    // Of what a step changes, the change is compared: the values themselves would hide it.
    const start = before?.get(name);
    const measure = start ? relativeL2 : relativeToLargest;
    const minus = (values) => (start ? values.map((value, i) => value - start[indices[i]]) : values);
    const e = measure(minus(actual), minus(expected));
    if (!(e <= tolerance))
      throw new Error(
        `wrong result: ${name} is off by ${e.toExponential(1)} (at most ${tolerance}) from ${reference.source}`,
      );
    error = Math.max(error, e);
  }
  for (const [index, expected] of (reference.losses ?? []).entries()) {
    const e = Math.abs(result.losses[index] - expected) / Math.abs(expected);
    if (!(e <= LOSS_TOLERANCE * factor))
      throw new Error(
        `wrong result: loss ${index + 1} is ${result.losses[index]}, ${reference.source} has ${expected} (at most ${LOSS_TOLERANCE * factor} off)`,
      );
  }
  return { against: reference.source, error, tolerance };
}

/** The tensors that a step changes, before it. */
function initialValues(work) {
  if (work.kind === 'train') return new Map([...stateDict(work.network)].map(([name, { data }]) => [name, data]));
  if (work.kind === 'mark') return new Map([['image', stepInputs(work).levels]]);
  return undefined;
}

function relativeToLargest(actual, expected) {
  const largest = expected.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
  return actual.reduce((worst, value, i) => worse(worst, Math.abs(value - expected[i])), 0) / largest;
}

function relativeL2(actual, expected) {
  let difference = 0;
  let norm = 0;
  for (const [i, value] of expected.entries()) {
    difference += (actual[i] - value) ** 2;
    norm += value ** 2;
  }
  return Math.sqrt(difference / norm);
}

/** The larger; NaN wins. */
const worse = (a, b) => (Number.isNaN(a) || b <= a ? a : b);
