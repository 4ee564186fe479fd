import { join } from 'node:path';
import { HELD_BACK_NAME } from '../evidence/held_back.ts';
import { registerPath } from '../evidence/register.ts';
import { privatePart } from '../files/private_part.ts';

/** The file that says what a data set is protected with: the first one in its private part. */
export const PROTECTION_NAME = 'protection.json';

const KEY_NAME = 'owner.key';

/** What is kept beside a protected data set, by its place in the private part. */
const NAMES = {
  protection: PROTECTION_NAME,
  network: 'patterns.safetensors',
  heldOut: 'held-out',
  heldOutList: HELD_BACK_NAME,
  key: KEY_NAME,
  register: registerPath(KEY_NAME),
  commitment: 'commitment.txt',
  keyRequest: 'key.tsq',
  dataRequest: 'data.tsq',
  references: 'references',
} as const;

/** Paths of what is kept. */
export type PrivatePaths = Readonly<Record<keyof typeof NAMES | 'folder', string>>;

/** Where everything is in the folder that is kept. */
export const keptIn = (folder: string): PrivatePaths => ({
  folder,
  ...(Object.fromEntries(Object.entries(NAMES).map(([name, file]) => [name, join(folder, file)])) as Omit<
    PrivatePaths,
    'folder'
  >),
});

/** Where everything is that is kept beside a protected data set. */
export const privatePaths = (published: string): PrivatePaths => keptIn(privatePart(published));

/** Names that the private part may hold before images are marked, with what a killed run leaves. */
export const KEPT_NAMES: readonly string[] = Object.values(NAMES).flatMap((name) => [
  name,
  `${name}.lock`,
  `${name}.partial`,
]);

/** The folder of probes, and of what tests found, where a key is. */
export const PROBES_FOLDER = 'probes';
export const TESTS_FOLDER = 'tests';
