/** Which outputs of a suspect are the key's classes. */

import { InputError } from '../errors.ts';
import { CHECKED, Guarded } from '../guarded.ts';
import type { Elements } from '../maths/linalg.ts';

/**
 * A suspect's outputs as the key's classes. A suspect comes to the white-box test with one, and only {@link ClassMapping.ownOrder} and
 * {@link ClassMapping.byName} make one: neither its number of outputs nor their order is taken on trust in silence.
 */
export class ClassMapping extends Guarded {
  /** The key's, in the key's order. */
  readonly classes: readonly string[];
  /** Which of the suspect's outputs each of them is. */
  readonly outputs: readonly number[];
  /**
   * The suspect has one output for two classes, the logit of the second: as large as its two logits are apart. Then both classes
   * are output 0, by this sign.
   */
  readonly signs: readonly number[] | undefined;
  /** Whether they are all of its outputs in their order: then nobody named them. */
  readonly #own: boolean;

  private constructor(
    checked: typeof CHECKED,
    classes: readonly string[],
    outputs: readonly number[],
    { own = false, signs }: { readonly own?: boolean; readonly signs?: readonly number[] } = {},
  ) {
    super(checked);
    this.classes = Object.freeze([...classes]);
    this.outputs = Object.freeze([...outputs]);
    this.signs = signs && Object.freeze([...signs]);
    this.#own = own;
    Object.freeze(this);
  }

  /**
   * The outputs are the key's classes, in the key's order; one output is the second of two classes.
   *
   * @param count outputs of the suspect.
   * @param suspect what it is called in messages.
   * @throws InputError if there are not as many as classes.
   */
  static ownOrder(classes: readonly string[], count: number, suspect: string): ClassMapping {
    if (isSingleLogit(count, classes.length)) return new ClassMapping(CHECKED, classes, [0, 0], { signs: [-1, 1] });
    if (count !== classes.length) {
      const [first, more] = [classes.slice(0, 5).join(', '), classes.length > 5 ? ', …' : ''];
      throw new InputError(
        `${suspect}: has ${count} classes, expected ${classes.length} (${first}${more}); name its classes with --suspect-classes, or give a model of those`,
      );
    }
    return new ClassMapping(
      CHECKED,
      classes,
      classes.map((_, c) => c),
      { own: true },
    );
  }

  /**
   * The outputs by their names, among which the key's classes must be.
   *
   * @param names of all outputs, in their order, from `file`.
   * @throws InputError if a class is missing or there twice, or there are not as many names as outputs.
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
    const twice = classes.find((name) => names.indexOf(name) !== names.lastIndexOf(name));
    if (twice !== undefined)
      throw new InputError(
        `${file}: has the class ${twice} twice; give each of the suspect's classes a name of its own`,
      );
    if (isSingleLogit(count, names.length))
      return new ClassMapping(
        CHECKED,
        classes,
        outputs.map(() => 0),
        { signs: outputs.map((output) => (output === 0 ? -1 : 1)) },
      );
    if (count !== names.length)
      throw new InputError(
        `${file}: names ${names.length} classes, ${suspect} has ${count}; give all of them, in the order of its outputs`,
      );
    return new ClassMapping(CHECKED, classes, outputs);
  }

  /** Of a last layer [outputs, columns] the rows [K, columns] of the key's classes. */
  rowsOf(weight: Elements, columns: number): Elements {
    if (this.#own) return weight;
    const chosen = new Float64Array(this.outputs.length * columns);
    this.outputs.forEach((row, c) => {
      const sign = this.signs?.[c] ?? 1;
      for (let i = 0; i < columns; i++) chosen[c * columns + i] = sign * weight[row * columns + i];
    });
    return chosen;
  }

  /** Of logits [n, outputs] those of the key's classes, [n, K]. */
  logitsOf(logits: Elements, outputs: number): Elements {
    if (this.#own) return logits;
    const K = this.outputs.length;
    const count = logits.length / outputs;
    const chosen = new Float64Array(count * K);
    for (let row = 0; row < count; row++)
      // A single logit is the difference of two.
      for (let c = 0; c < K; c++)
        chosen[row * K + c] = ((this.signs?.[c] ?? 2) / 2) * logits[row * outputs + this.outputs[c]];
    return chosen;
  }
}

/** Whether one output stands for two classes: the logit of the second, as binary cross-entropy is trained with. */
export const isSingleLogit = (outputs: number, classes: number): boolean => outputs === 1 && classes === 2;
