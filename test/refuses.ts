import { expect } from 'vitest';
import { InputError } from '../src/errors.ts';

/** Expects an InputError of one line that says so and, behind a semicolon, what to do. */
export async function refuses(promise: Promise<unknown>, message: string): Promise<void> {
  const error = (await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  )) as Error;
  expect(error).toBeInstanceOf(InputError);
  expect(error.message).toContain(message);
  expect(error.message).toMatch(/^[^\n]+; [^\n]+$/);
}
