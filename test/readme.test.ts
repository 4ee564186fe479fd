import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { parseManifest } from '../src/datasets/manifest.ts';
import { commitment } from '../src/marking/key.ts';
import { readRegister, registerPath } from '../src/node/evidence/register.ts';
import { openKey } from '../src/node/runs/inputs.ts';
import { packedInto } from './package/packed.ts';
import { CLASSES, writeFolder, writeModel } from './small_data.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'radioactive-readme-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

it("the README's program marks and detects with the package as it is published", async () => {
  const [, program] = /```js\n([\s\S]*?)```/.exec(readFileSync('README.md', 'utf8'))!;
  packedInto(folder);
  writeFolder(join(folder, 'images'), 80);
  writeFolder(join(folder, 'held-out'), 160, CLASSES, 1000);
  // More features than directions that the carriers are drawn in.
  writeModel(join(folder, 'marker.safetensors'), { network: { width: 8 }, seed: 1 });
  writeModel(join(folder, 'suspect.safetensors'), { seed: 2 });
  writeFileSync(join(folder, 'program.js'), program);
  const output = execFileSync(process.execPath, ['program.js'], { cwd: folder, encoding: 'utf8' });

  const key = join(folder, 'owner.key');
  const published = await commitment(await openKey(key));
  const path = join(folder, 'marked.private/manifest.json');
  const { images } = parseManifest(readFileSync(path, 'utf8'), path);
  const fraction = Number(/fraction: ([\d.]+)/.exec(program)![1]);
  expect(images.length).toBe(80 * fraction);
  const { looks } = await readRegister(registerPath(key), published);
  expect(looks.length).toBe(1);
  const [first, second] = output.trim().split('\n');
  expect(first).toBe(`to publish before the images: ${published}`);
  expect(second).toBe(`log10 p ${looks[0].log10p}`);
});
