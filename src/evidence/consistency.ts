/** A result against itself, and its times against each other: needs neither arrays nor a key's secret. */

import { log10PCosine } from '../maths/cosine.ts';
import { fisherLog10P } from '../maths/fisher.ts';
import { bonferroni, type Register } from './register.ts';
import { numberOf, type Result } from './result.ts';

/** Numbers that are computed again may differ by the rounding of another machine's logarithms. */
const RELATIVE_TOLERANCE = 1e-9;

/** Whether two numbers are equal but for rounding. */
export const nearlyEqual = (a: number, b: number): boolean =>
  a === b || Math.abs(a - b) <= RELATIVE_TOLERANCE * Math.max(1, Math.abs(a));

/** The statistic whose p-value is the result's: the first, see `Finding`. */
export const decidingStatistic = ({
  statistics,
}: Pick<Result, 'statistics'>): Result['statistics'][number] | undefined => statistics[0];

/** What of a result contradicts itself, a few words each; none in a result as `detect` wrote it. */
export function selfContradictions(result: Result): string[] {
  const { log10p, statistics, register, perClass, meanCosine, dimension, blackBox, key, carriers, test } = result;
  const found: string[] = [];
  const requireProbability = (x: Result['log10p'], name: string): void => {
    if (!(numberOf(x) <= 0)) found.push(`${name}log10p is ${x}, which is no logarithm of a probability`);
  };
  const requireEqual = (said: Result['log10p'], follows: number, name: string, from: string): void => {
    if (!nearlyEqual(numberOf(said), follows)) found.push(`${name} is ${said}, ${from} ${follows}`);
  };
  const observed = numberOf(log10p);
  requireProbability(log10p, '');
  const { looks, entry, log10pBonferroni } = register;
  if (looks < 1 || entry < 1 || entry > looks) found.push(`register: entry ${entry} of ${looks} tests cannot be`);
  else
    requireEqual(
      log10pBonferroni,
      bonferroni(observed, looks),
      'register.log10pBonferroni',
      `log10p corrected for ${looks} tests is`,
    );
  const deciding = decidingStatistic(result);
  if (!deciding) found.push('there is no statistic');
  else requireEqual(log10p, numberOf(deciding.log10p), 'log10p', `the statistic that decides, ${deciding.name}, has`);

  for (const { name, log10p: own, perClass: classes, null: sample } of statistics) {
    requireProbability(own, `${name}: `);
    for (const each of classes) if (each.log10p !== null) requireProbability(each.log10p, `${name}: ${each.class}: `);
    if (classes.length > 0 && classes.some((each, c) => each.class !== key.classes[c]))
      found.push(`${name}: its classes are not those of the key`);
    // White-box: cosines are independent. Black-box: of ranks, not of sums.
    if (name === 'white-box' || name.endsWith('(Fisher)')) {
      const own10 = classes.map((each) => numberOf(each.log10p ?? 'NaN'));
      if (own10.length > 0 && own10.every((x) => x <= 0))
        requireEqual(own, fisherLog10P(own10), `${name}: log10p`, "Fisher's combination of its classes is");
      else found.push(`${name}: its classes have no p-values`);
    }
    if (sample === null) continue;
    for (const x of sample.log10p) requireProbability(x, `${name}: null: `);
    const atMost = sample.log10p.filter((x) => numberOf(x) <= numberOf(own)).length;
    if (atMost !== sample.atMost) found.push(`${name}: null.atMost is ${sample.atMost}, its values give ${atMost}`);
  }

  if (perClass) {
    const d = dimension ?? carriers.dimension;
    if (d !== carriers.dimension) found.push(`cosines are of ${d} dimensions, the carriers have ${carriers.dimension}`);
    for (const [c, { class: name, cosine, log10p: own }] of perClass.entries()) {
      const x = numberOf(cosine);
      if (!(Math.abs(x) <= 1)) found.push(`${name}: ${cosine} is no cosine`);
      else requireEqual(own, log10PCosine(x, d), `${name}: log10p`, `a cosine of ${x} in ${d} dimensions has`);
      const same = deciding?.perClass[c];
      if (test !== 'white-box' || !deciding) continue;
      if (same?.class !== name || numberOf(same.score) !== x || numberOf(same.log10p ?? 'NaN') !== numberOf(own))
        found.push(`${name}: the statistic that decides says other numbers of it`);
    }
    if (meanCosine !== undefined && perClass.length > 0)
      requireEqual(
        meanCosine,
        perClass.reduce((sum, { cosine }) => sum + numberOf(cosine), 0) / perClass.length,
        'meanCosine',
        "the classes' mean is",
      );
  }
  if (test === 'white-box' && !perClass) found.push('a white-box test has a cosine for every class');
  if (test === 'white-box' && deciding && deciding.name !== 'white-box')
    found.push(`the white-box test is decided by ${deciding.name}`);
  if (test === 'black-box' && !blackBox) found.push('a black-box test says how it was made');
  if (test === 'black-box' && blackBox) found.push(...blackBoxContradictions(result, blackBox));
  return found;
}

/** P-values of ranks among S sets are multiples of 1/S, and no p-value is below that of every class first. */
function blackBoxContradictions({ statistics, key }: Result, { sets }: NonNullable<Result['blackBox']>): string[] {
  const found: string[] = [];
  const floor = -key.classes.length * Math.log10(sets);
  const [first, ...others] = statistics;
  for (const { name, log10p, exact, perClass } of first ? [first, ...others] : []) {
    if (exact && numberOf(log10p) < floor - RELATIVE_TOLERANCE * Math.abs(floor) && !name.endsWith('(Fisher)'))
      found.push(
        `${name}: log10p is ${log10p}, with ${sets} sets and ${key.classes.length} classes it is at least ${floor}`,
      );
    for (const each of perClass) {
      if (each.log10p === null) continue;
      const rank = sets * 10 ** numberOf(each.log10p);
      if (!(Math.abs(rank - Math.round(rank)) <= 1e-6 && Math.round(rank) >= 1))
        found.push(`${name}: ${each.class}: log10p ${each.log10p} is that of no rank among ${sets}`);
    }
  }
  return found;
}

/** Clocks of different machines, and stamps without fractions of a second, may differ by so much. */
export const CLOCKS_MS = 5 * 60_000;

const iso = (ms: number): string => new Date(ms).toISOString();

/** What a result's times are compared with, ISO 8601. */
export interface KnownTimes {
  /** When the key's public randomness became known. */
  readonly beacon?: string | undefined;
  readonly register?: Pick<Register, 'begun' | 'looks'> | undefined;
  /** Of whoever checks, in milliseconds; default: now. */
  readonly now?: number | undefined;
}

/**
 * What is wrong with the order of times: the key was made, its beacon became known, the list of tests was begun, the test was made and
 * then entered, and all of that lies in the past. Times of one machine must be in order, those of others within some minutes.
 */
export function timeContradictions(
  { time, key: { created }, register: { entry } }: Pick<Result, 'time' | 'key' | 'register'>,
  { beacon, register, now = Date.now() }: KnownTimes = {},
): string[] {
  const own = register?.looks[entry - 1]?.time;
  type Event = readonly [what: string, time: string | undefined];
  const order = (earlier: Event, later: Event, slack = 0): string[] => {
    if (earlier[1] === undefined || later[1] === undefined) return [];
    const [a, b] = [Date.parse(earlier[1]), Date.parse(later[1])];
    return a <= b + slack ? [] : [`${later[0]} at ${iso(b)}, before ${earlier[0]} at ${iso(a)}`];
  };
  const key: Event = ['the key was made', created];
  const begun: Event = ['the list of tests was begun', register?.begun];
  const test: Event = ['the test was made', time];
  const entered: Event = ['the test was entered in the list', own];
  const known: Event = ["the key's public randomness became known", beacon];
  const looks = register?.looks ?? [];
  return [
    ...order(key, known, CLOCKS_MS),
    ...order(known, test, CLOCKS_MS),
    ...order(key, begun),
    ...order(key, test),
    ...order(begun, test),
    ...order(test, entered),
    ...(own !== undefined && Date.parse(own) > Date.parse(time) + CLOCKS_MS
      ? [`the test was entered in the list at ${own}, long after it was made at ${time}`]
      : []),
    ...looks.flatMap((look, i) =>
      order(
        [`entry ${i} of the list`, i === 0 ? register?.begun : looks[i - 1].time],
        [`entry ${i + 1} of the list`, look.time],
      ),
    ),
    ...[key, known, begun, test, entered].flatMap(([what, at]) =>
      at !== undefined && Date.parse(at) > now + CLOCKS_MS ? [`${what} at ${at}, which is still to come`] : [],
    ),
  ];
}
