/** Which outputs of a suspect are the key's classes. */

import { InputError } from '../errors.ts';
import type { Elements } from '../maths/linalg.ts';

/**
 * A suspect's outputs as the key's classes. A suspect comes to the white-box test with one, and only {@link ClassMapping.ownOrder} and
 * {@link ClassMapping.byName} make one: neither its number of outputs nor their order is taken on trust in silence.
 */
export class ClassMapping {
  /** The key's, in the key's order. */
  readonly classes: readonly string[];
  /** Which of the suspect's outputs each of them is. */
  readonly outputs: readonly number[];
  /** Whether they are all of its outputs in their order: then nobody named them. */
  readonly #own: boolean;

  private constructor(classes: readonly string[], outputs: readonly number[], own: boolean) {
    this.classes = classes;
    this.outputs = outputs;
    this.#own = own;
  }

  /**
   * The outputs are the key's classes, in the key's order.
   *
   * @param count outputs of the suspect.
   * @param suspect what it is called in messages.
   * @throws InputError if there are not as many as classes.
   */
  static ownOrder(classes: readonly string[], count: number, suspect: string): ClassMapping {
    if (count !== classes.length) {
      const [first, more] = [classes.slice(0, 5).join(', '), classes.length > 5 ? ', …' : ''];
      throw new InputError(
        `${suspect}: has ${count} classes, expected ${classes.length} (${first}${more}); name its classes with --suspect-classes, or give a model of those`,
      );
    }
    return new ClassMapping(
      classes,
      classes.map((_, c) => c),
      true,
    );
  }

  /**
   * The outputs by their names, among which the key's classes must be.
   *
   * @param names of all outputs, in their order, from `file`.
   * @throws InputError if a class is missing, or there are not as many names as outputs.
   */
  static byName(
    classes: readonly string[],
    { names, file }: { readonly names: readonly string[]; readonly file: string },
    count: number,
    suspect: string,
  ): ClassMapping {
    const outputs = classes.map((name) => names.indexOf(name));
    const missing = classes.find((_, c) => outputs[c] === -1);
    if (missing !== undefined)
      throw new InputError(
        `${file}: has no class ${missing}, which the key has; give the suspect's classes by the key's names`,
      );
    if (count !== names.length)
      throw new InputError(
        `${file}: names ${names.length} classes, ${suspect} has ${count}; give all of them, in the order of its outputs`,
      );
    return new ClassMapping(classes, outputs, false);
  }

  /** Of a last layer [outputs, columns] the rows [K, columns] of the key's classes. */
  rowsOf(weight: Elements, columns: number): Elements {
    if (this.#own) return weight;
    const chosen = new Float64Array(this.outputs.length * columns);
    this.outputs.forEach((row, c) => {
      chosen.set(weight.subarray(row * columns, (row + 1) * columns), c * columns);
    });
    return chosen;
  }

  /** Of scores [n, outputs] the columns [n, K] of the key's classes. */
  columnsOf(scores: Elements, n: number): Elements {
    if (this.#own) return scores;
    const [K, columns] = [this.outputs.length, scores.length / n];
    return Float32Array.from({ length: n * K }, (_, at) => scores[Math.floor(at / K) * columns + this.outputs[at % K]]);
  }
}
