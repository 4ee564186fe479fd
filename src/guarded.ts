/**
 * Values of classes that stand for a check. TypeScript keeps others from making them by its types alone, which hold nobody at run
 * time; this does.
 */

import { InputError } from './errors.ts';

/** What the constructors ask for. No entry of the package exports it. */
export const CHECKED = Symbol('checked');

/** All that were made. */
const made = new WeakSet<object>();

/** A value that only its class's checking functions make. */
export abstract class Guarded {
  /** @throws InputError unless `checked` is {@link CHECKED}. */
  protected constructor(checked: typeof CHECKED) {
    if (checked !== CHECKED)
      throw new InputError(`${new.target.name}: only its own functions, which check what they are given, make one`);
    made.add(this);
  }
}

/**
 * @param name of the class, for messages: minifiers rename classes.
 * @throws InputError unless a value was made by its class's checking functions.
 */
export function requireGuarded(value: unknown, guardedClass: { readonly prototype: Guarded }, name: string): void {
  const own = (value: object): boolean => made.has(value) && Object.getPrototypeOf(value) === guardedClass.prototype;
  if (!(typeof value === 'object' && value && own(value)))
    throw new InputError(`expected a ${name}; make it with its own functions, of the same copy of radioactive`);
}
