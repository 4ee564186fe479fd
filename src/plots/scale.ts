/** From values to places along an axis, and where its ticks are. */

/** A value that an axis names. */
export interface Tick {
  readonly at: number;
  readonly label: string;
}

export interface Axis {
  readonly label: string;
  /** Values at the left or lower end and at the other; it may fall. Finite, different, and positive for `log10`. */
  readonly domain: readonly [number, number];
  /** Default `linear`. */
  readonly scale?: 'linear' | 'log10' | undefined;
  /** Default: round values. */
  readonly ticks?: readonly Tick[] | undefined;
  /** What is written at ticks by default. */
  readonly format?: ((value: number) => string) | undefined;
}

/** Where a value lies on an axis: 0 at its beginning, 1 at its end, beyond for values outside; ±∞ and NaN are possible. */
export function positionOn({ domain: [from, to], scale = 'linear' }: Axis, value: number): number {
  return scale === 'log10'
    ? (Math.log10(value) - Math.log10(from)) / (Math.log10(to) - Math.log10(from))
    : (value - from) / (to - from);
}

/** An axis' ticks, about `count` of them. */
export function ticksOf(axis: Axis, count: number): readonly Tick[] {
  if (axis.ticks) return axis.ticks;
  const [low, high] = [Math.min(...axis.domain), Math.max(...axis.domain)];
  const values = axis.scale === 'log10' ? logarithmic(low, high, count) : roundValues(low, high, count);
  return values.map((at) => ({ at, label: (axis.format ?? plainNumber)(at) }));
}

/** Multiples of 1, 2 or 5 times a power of ten within the bounds, about `count` of them. */
export function roundValues(low: number, high: number, count: number): number[] {
  const step = roundStep((high - low) / Math.max(1, count));
  const values: number[] = [];
  for (let i = Math.ceil(low / step - 1e-9); i <= high / step + 1e-9; i++) values.push(withoutNoise(i * step));
  return values;
}

/** The smallest of 1, 2, 5, 10, 20 … (and 0.5, 0.2 …) that is not below `least`. */
export function roundStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least) + 1e-9);
  const factor = [1, 2, 5, 10].find((candidate) => candidate * power >= least * (1 - 1e-9)) ?? 10;
  return withoutNoise(factor * power);
}

/** Powers of ten within the bounds where these are enough, else {@link oneTwoFive}. */
function logarithmic(low: number, high: number, count: number): number[] {
  const decades: number[] = [];
  const every = Math.max(1, Math.round(roundStep((Math.log10(high) - Math.log10(low)) / Math.max(1, count))));
  const first = Math.ceil(Math.log10(low) - 1e-9);
  for (let e = Math.ceil(first / every) * every; e <= Math.log10(high) + 1e-9; e += every) decades.push(10 ** e);
  return decades.length > 2 ? decades : oneTwoFive(low, high);
}

/** 1, 2, 5, 10, 20 … and 0.5, 0.2 … within positive bounds. */
function oneTwoFive(low: number, high: number): number[] {
  const values: number[] = [];
  for (let e = Math.floor(Math.log10(low)); e <= Math.log10(high) + 1e-9; e++)
    for (const factor of [1, 2, 5]) values.push(withoutNoise(factor * 10 ** e));
  return values.filter((value) => value >= low * (1 - 1e-9) && value <= high * (1 + 1e-9));
}

/** Without the last digits that arithmetic leaves: 0.30000000000000004 is 0.3. */
const withoutNoise = (value: number): number => Number(value.toPrecision(12)) + 0;

/** With a true minus, digits in groups of three from 10 000 on. */
export const plainNumber = (value: number): string =>
  (Math.abs(value) >= 10_000 && Math.abs(value) < 1e15
    ? String(value).replaceAll(/\B(?=(\d{3})+(?!\d))/g, ' ')
    : String(value)
  ).replaceAll('-', '−');

const SUPERSCRIPTS: Readonly<Record<string, string>> = Object.fromEntries(
  [...'0123456789-.'].map((character, i) => [character, [...'⁰¹²³⁴⁵⁶⁷⁸⁹⁻·'][i]]),
);

/** `10⁻⁴` for −4, `1` for 0: a power of ten by its exponent. */
export const powerOfTen = (exponent: number): string =>
  exponent === 0 ? '1' : `10${[...String(exponent)].map((character) => SUPERSCRIPTS[character] ?? character).join('')}`;

/** Where fewer powers of ten than this fit on an axis of log10 p, it names probabilities between them too. */
const FEW_DECADES = 2.5;

/** An axis for values of log10 p that reads as probabilities: powers of ten, or 0.5, 0.2, 0.1 … where it spans few of them. */
export function log10PAxis(label: string, domain: readonly [number, number], count = 6): Axis {
  const [low, high] = [Math.min(...domain), Math.max(...domain)];
  if (high - low <= FEW_DECADES && low > -6) {
    const values = oneTwoFive(10 ** low, 10 ** high);
    return { label, domain, ticks: values.map((p) => ({ at: Math.log10(p), label: plainNumber(p) })) };
  }
  const step = Math.max(1, roundStep((high - low) / count));
  const ticks = roundValues(low, high, (high - low) / step);
  return { label, domain, ticks: ticks.filter(Number.isInteger).map((at) => ({ at, label: powerOfTen(at) })) };
}
