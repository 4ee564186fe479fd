import { readFileSync } from 'node:fs';
import { type GoldenFile, parseGolden } from './runtimes/programs/golden.ts';

/** Ground truth from PyTorch, see test/golden/README.md. */
export function golden(name: string): GoldenFile {
  const file = `test/golden/${name}.safetensors`;
  return parseGolden(new Uint8Array(readFileSync(file)), file);
}
