import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';

declare module 'vitest' {
  export interface ProvidedContext {
    /** A folder for the packed package, which the first test that asks for it fills (see `packed.ts`). */
    packFolder: string;
  }
}

/** One folder a test run for the package as it would be published. */
export default function setup(project: TestProject): () => void {
  const folder = mkdtempSync(join(tmpdir(), 'radioactive-pack-'));
  project.provide('packFolder', folder);
  return () => rmSync(folder, { recursive: true });
}
