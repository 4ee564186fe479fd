/** Classes of data sets that say of each item what its class is, by name or by number. */

import { compareCodePoints } from '../../datasets/names.ts';
import { InputError } from '../../errors.ts';

/** Classes that a data set may number; more are taken for a mistake. */
const MOST_CLASSES = 2 ** 20;

/** Labels as they are read, each distinct one kept once. */
export class LabelColumn {
  readonly #numberOf = new Map<string, number>();
  readonly #values: number[] = [];

  get length(): number {
    return this.#values.length;
  }

  /** The label of the next item: a class's name, or its number in decimal digits. */
  push(label: string): void {
    let value = this.#numberOf.get(label);
    if (value === undefined) {
      value = this.#numberOf.size;
      this.#numberOf.set(label, value);
    }
    this.#values.push(value);
  }

  /**
   * Class names, and the class index of each item. Where all labels are numbers they count in `names`, if those are given, and are
   * classes called by their numbers if not. Else they are names, in the order of `names`, or sorted by code point.
   *
   * @param names of the classes in their order; those that no item has may be among them
   * @throws InputError where a label is none of them
   */
  resolve(path: string, names?: readonly string[]): { classes: readonly string[]; labels: Uint32Array } {
    const distinct = [...this.#numberOf.keys()];
    const numbered = distinct.every((label) => /^(?:0|[1-9]\d*)$/.test(label));
    const known = names && new Set(names);
    const named = known && distinct.every((label) => known.has(label));
    let classes: readonly string[];
    let indexOf: (label: string) => number;
    if (numbered && !named) {
      const largest = distinct.reduce((most, label) => Math.max(most, Number(label)), 0);
      if (largest >= MOST_CLASSES) throw new InputError(`${path}: a label is ${largest}; number the classes from 0`);
      classes = names ?? Array.from({ length: largest + 1 }, (_, index) => String(index));
      if (largest >= classes.length) {
        throw new InputError(
          `${path}: a label is ${largest}, there are ${classes.length} classes; name all of them in order`,
        );
      }
      indexOf = Number;
    } else {
      classes = names ?? distinct.sort(compareCodePoints);
      const places = new Map(classes.map((name, index) => [name, index]));
      const unknown = distinct.find((label) => !places.has(label));
      if (unknown !== undefined) {
        throw new InputError(
          `${path}: class ${JSON.stringify(unknown.slice(0, 80))} is none of the ${classes.length} classes; name it as one, or correct the label`,
        );
      }
      indexOf = (label) => places.get(label)!;
    }
    const of = Uint32Array.from(this.#numberOf.keys(), indexOf);
    return { classes, labels: Uint32Array.from(this.#values, (value) => of[value]) };
  }
}
