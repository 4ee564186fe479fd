import { InputError } from '../errors.ts';
import { derive } from '../random.ts';

/** How many items of every class: a share of them, from 0 to 1, or a number. */
export type Amount = { readonly fraction: number } | { readonly perClass: number };

/** What {@link selectStratified} selects, and what it leaves. */
export interface Selection {
  /** Indices of the selected items, ascending. */
  readonly selected: Uint32Array;
  /** Indices of all others, ascending. */
  readonly rest: Uint32Array;
}

/**
 * Selects items of every class at random: `fraction` times the class's size rounded to nearest (a half up), or `perClass`.
 * A function of the labels and the seed alone; what a smaller amount selects, a larger one with the same seed selects too.
 *
 * @param labels class index per item.
 * @param seed safe integer, not negative.
 * @throws InputError if a label is not below `classCount`, the amount is not valid, or a class has fewer items than that.
 */
export function selectStratified(
  labels: ArrayLike<number>,
  classCount: number,
  amount: Amount,
  seed: number,
): Selection {
  return selectFirst(labels, classCount, countOf(amount), (members, label) =>
    derive(seed, 'select', label).shuffle(members),
  );
}

/**
 * Selects the items of every class whose value is largest, as many as `selectStratified` does; of equal values the first. What a
 * smaller amount selects, a larger one selects too.
 *
 * @param values one per item.
 * @throws InputError as `selectStratified` does.
 */
export function selectLargest(
  labels: ArrayLike<number>,
  classCount: number,
  amount: Amount,
  values: ArrayLike<number>,
): Selection {
  return selectFirst(labels, classCount, countOf(amount), (members) => {
    members.sort((a, b) => values[b] - values[a] || a - b);
  });
}

/**
 * Selects the first items of every class in the order that `arrange` gives them.
 *
 * @param count how many, from the class's size and index.
 * @throws InputError if a label is not below `classCount`, or a class has fewer items than `count` says.
 */
export function selectFirst(
  labels: ArrayLike<number>,
  classCount: number,
  count: (size: number, label: number) => number,
  arrange: (members: number[], label: number) => void,
): Selection {
  const members: number[][] = Array.from({ length: classCount }, () => []);
  for (let i = 0; i < labels.length; i++) {
    if (members[labels[i]] === undefined) {
      throw new InputError(
        `select: item ${i} has label ${labels[i]}, there are ${classCount} classes; check the labels`,
      );
    }
    members[labels[i]].push(i);
  }
  const isSelected = new Uint8Array(labels.length);
  members.forEach((indices, label) => {
    const wanted = count(indices.length, label);
    if (!Number.isInteger(wanted) || wanted < 0 || wanted > indices.length) {
      throw new InputError(
        `select: cannot take ${wanted} of the ${indices.length} items of class ${label}; ask for fewer`,
      );
    }
    arrange(indices, label);
    for (const index of indices.slice(0, wanted)) isSelected[index] = 1;
  });
  const all = Uint32Array.from({ length: labels.length }, (_, i) => i);
  return { selected: all.filter((i) => isSelected[i] === 1), rest: all.filter((i) => isSelected[i] === 0) };
}

function countOf(amount: Amount): (size: number) => number {
  if ('perClass' in amount) return () => amount.perClass;
  const { fraction } = amount;
  if (!(fraction >= 0 && fraction <= 1)) {
    throw new InputError(`select: fraction ${fraction} is not from 0 to 1; give a share such as 0.1`);
  }
  return (size) => Math.round(fraction * size);
}
