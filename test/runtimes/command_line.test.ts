import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packedInto } from '../package/packed.ts';
import { writeFolder, writeModel } from '../small_data.ts';
import { DENO, missing } from './runtimes.ts';

/** The command line of the packed package in Deno, with the modules webgpu and sharp; beside it in Node, with the same files. */
const absent = missing(DENO);
describe.skipIf(absent !== '')(`the command line in Deno${absent}`, () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'radioactive-deno-'));
    packedInto(folder);
    writeFolder(join(folder, 'images'), 60);
    writeModel(join(folder, 'marker.safetensors'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const runtimes = { deno: [DENO, 'run', '--allow-all', '--no-remote'], node: [process.execPath] } as const;
  async function run(runtime: keyof typeof runtimes, line: string) {
    const [executable, ...args] = runtimes[runtime];
    const cli = 'node_modules/radioactive/dist/cli.js';
    const words = [...args, cli, ...line.split(' '), '--json', '--quiet'];
    const { stdout } = await promisify(execFile)(executable, words, { cwd: folder });
    return JSON.parse(stdout);
  }
  const bytes = (name: string): Buffer => readFileSync(join(folder, name));

  it('doctor: the same adapter as Node, and it computes rightly', async () => {
    const [deno, node] = [await run('deno', 'doctor'), await run('node', 'doctor')];
    expect(deno).toEqual({ ...node, node: expect.stringMatching(/^\d/) });
    expect(deno).toMatchObject({ passed: true, images: 'sharp' });
  });

  it('keygen, mark, train, detect: the same images, weights and p-value as Node', async () => {
    await run('deno', 'keygen --classes images --dimension 4 --model marker.safetensors -o owner.key');
    expect(existsSync(join(folder, 'owner.key'))).toBe(true);
    const found = [];
    for (const runtime of ['deno', 'node'] as const) {
      const mark = 'mark --key owner.key --model marker.safetensors --data images --fraction 0.2';
      await run(runtime, `${mark} -o marked-${runtime}`);
      await run(
        runtime,
        `train --data marked-${runtime} --epochs 1 --width 4 --seed 1 -o suspect-${runtime}.safetensors`,
      );
      // One epoch teaches the suspect little: its answers may be at chance.
      const detect = 'detect --key owner.key --model marker.safetensors --data images --despite classes';
      found.push(await run(runtime, `${detect} --suspect suspect-${runtime}.safetensors`));
    }
    const images = readdirSync(join(folder, 'marked-deno'), { recursive: true, encoding: 'utf8' }).filter((name) =>
      name.endsWith('.png'),
    );
    expect(images).toHaveLength(60);
    for (const name of images) expect(bytes(`marked-deno/${name}`), name).toEqual(bytes(`marked-node/${name}`));
    const manifest = JSON.parse(bytes('marked-deno.private/manifest.json').toString());
    expect(manifest.images).toHaveLength(12);
    // Logarithms of two engines differ in the last digit, so that dB do.
    expect(manifest.merkleRoot).toBe(JSON.parse(bytes('marked-node.private/manifest.json').toString()).merkleRoot);
    expect(bytes('suspect-deno.safetensors')).toEqual(bytes('suspect-node.safetensors'));
    const [deno, node] = found;
    expect(Math.abs(deno.log10p - node.log10p)).toBeLessThanOrEqual(1e-9);
    expect(deno.log10p).toBeLessThan(0);
  });
});
