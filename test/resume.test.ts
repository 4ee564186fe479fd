import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { createKey, type Key, serializeKey } from '../src/marking/key.ts';
import { defaultMarkingRecipe } from '../src/marking/recipe.ts';
import { VanillaImages } from '../src/marking/vanilla.ts';
import type { Model } from '../src/nn/model.ts';
import { openDataset } from '../src/node/datasets/open.ts';
import { openDatasetWriter } from '../src/node/datasets/write.ts';
import { makeProbes, probeRecipeFor } from '../src/node/runs/make_probes.ts';
import { markDataset } from '../src/node/runs/mark_dataset.ts';
import { openModel } from '../src/node/runs/open_model.ts';
import { runTraining } from '../src/node/runs/training_run.ts';
import { derive } from '../src/random.ts';
import { build, ownLines, type RunOptions, run } from './cli.ts';
import { useDevice } from './device.ts';
import { killEverywhere, life } from './mortal_files.ts';
import { CLASSES, writeFolder, writeIdx, writeModel, writeShards } from './small_data.ts';

vi.mock('node:fs/promises', async (importOriginal) => (await import('./mortal_files.ts')).mortalFiles(importOriginal));

let folder: string;
let key: Key;
const at = (name: string): string => join(folder, name);
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'radioactive-resume-'));
  const modelBytes = readFileSync(writeModel(at('marker.safetensors')));
  const sha256 = createHash('sha256').update(modelBytes).digest('hex');
  key = await createKey({
    classes: CLASSES,
    model: { sha256, architecture: 'resnet18', featureDimension: 32 },
    basis: null,
    centre: true,
  });
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Every file of a folder, hidden ones too, with a digest of its bytes. */
function listing(root: string): Record<string, string> {
  return Object.fromEntries(
    (readdirSync(root, { recursive: true }) as string[])
      .filter((path) => statSync(join(root, path)).isFile())
      .sort()
      .map((path) => [
        path,
        createHash('sha256')
          .update(readFileSync(join(root, path)))
          .digest('hex'),
      ]),
  );
}

/** Of a marked data set and of its private part. */
const bothListings = (out: string) => [out, `${out}.private`].map(listing);

describe('killed at every change to a file', () => {
  const device = useDevice();
  let model: Model;
  beforeAll(async () => {
    model = (await openModel(device(), at('marker.safetensors'))).model;
  });
  afterAll(() => model.destroy());

  it.each(['folder', 'idx'])('mark goes on and ends with the same bytes: %s', async (layout) => {
    const source = layout === 'folder' ? writeFolder(at('few'), 4) : writeIdx(at('few-idx'), 4);
    const dataset = await openDataset(source);
    const recipe = { ...defaultMarkingRecipe(12), iterations: 2 };
    const mark = (out: string): Promise<unknown> =>
      markDataset({ key, model, dataset, fraction: 0.5, recipe, out, batchSize: 1 });
    const undisturbed = at(`whole-${layout}`);
    await mark(undisturbed);
    const whole = bothListings(undisturbed);
    const out = at(`killed-${layout}`);
    const kills = await killEverywhere(
      () => mark(out),
      async () => {
        // Killed after the last act, it is whole; otherwise there is nothing of that name.
        if (!existsSync(out)) await mark(out);
        expect(bothListings(out)).toEqual(whole);
        expect(existsSync(`${out}.partial`)).toBe(false);
        for (const part of [out, `${out}.private`]) rmSync(part, { recursive: true });
      },
    );
    expect(kills).toBeGreaterThan(20);
  });

  // Marking goes through the same writers; these have steps of their own.
  it.each([['webdataset', writeShards]])('a writer goes on and ends with the same bytes: %s', async (layout, write) => {
    const dataset = await openDataset(write(at(`few-${layout}`), 3));
    expect(dataset.format?.name).toBe(layout);
    const goOn = async (out: string): Promise<void> => {
      const writer = await openDatasetWriter(dataset, out, { resume: true });
      for (let index = 0; index < dataset.length; index++) {
        if (await writer.stored(index)) continue;
        if (index === 1) await writer.copy(index);
        else await writer.writeImage(index, await dataset.image(index));
      }
      await writer.finish();
    };
    await goOn(at(`whole-writer-${layout}`));
    const whole = listing(at(`whole-writer-${layout}`));
    const out = at(`killed-writer-${layout}`);
    const kills = await killEverywhere(
      () => goOn(out),
      async () => {
        await goOn(out);
        expect(listing(out)).toEqual(whole);
        rmSync(out, { recursive: true });
      },
    );
    expect(kills).toBeGreaterThan(20);
  });

  it.each(['folder', 'idx'])('probes go on and end with the same bytes: %s', async (layout) => {
    const source = layout === 'folder' ? writeFolder(at('few'), 4) : writeIdx(at('few-idx'), 4);
    const dataset = await openDataset(source);
    const recipe = {
      ...probeRecipeFor({ architecture: 'resnet18', inputSize: 12, channels: 1, std: [1] }),
      iterations: 2,
    };
    const probes = (out: string, change: object = {}): Promise<unknown> =>
      makeProbes({
        key,
        model,
        heldOut: VanillaImages.check(dataset, []),
        decoys: 1,
        perClass: 1,
        recipe,
        out,
        batchSize: 2,
        ...change,
      });
    const undisturbed = at(`whole-probes-${layout}`);
    await probes(undisturbed);
    const whole = listing(undisturbed);
    const out = at(`killed-probes-${layout}`);
    const kills = await killEverywhere(
      () => probes(out),
      async () => {
        if (!existsSync(out)) {
          if (existsSync(join(`${out}.partial`, '.journal.ndjson')))
            await expect(probes(out, { decoys: 2 })).rejects.toThrow('was begun with another key, data set or options');
          await probes(out);
        }
        expect(listing(out)).toEqual(whole);
        expect(existsSync(`${out}.partial`)).toBe(false);
        rmSync(out, { recursive: true });
      },
    );
    expect(kills).toBeGreaterThan(20);
  });

  it.each([false, true])('train goes on and ends with the same bytes: last layer alone %s', async (freezeFeatures) => {
    const dataset = await openDataset(writeFolder(at('train'), 6));
    const train = (out: string): Promise<unknown> =>
      runTraining({
        device: device(),
        dataset,
        out,
        ...(freezeFeatures && { init: at('marker.safetensors') }),
        network: { width: 4 },
        recipe: { epochs: 1, batchSize: 2, freezeFeatures },
        checkpointSteps: 1,
        resume: true,
      });
    const read = (out: string): Buffer[] => [readFileSync(out), readFileSync(`${out}.json`)];
    const undisturbed = at(`whole-${freezeFeatures}.safetensors`);
    await train(undisturbed);
    const out = at(`killed-${freezeFeatures}.safetensors`);
    const kills = await killEverywhere(
      () => train(out),
      async () => {
        if (!existsSync(out)) await train(out);
        expect(read(out).every((bytes, file) => bytes.equals(read(undisturbed)[file]))).toBe(true);
        for (const path of [out, `${out}.json`, `${out}.checkpoint`]) rmSync(path, { force: true });
      },
    );
    expect(kills).toBeGreaterThan(10);
  });

  it('a full disk leaves nothing half-written under a final name, and the run goes on', async () => {
    const dataset = await openDataset(writeFolder(at('full'), 4));
    const recipe = { ...defaultMarkingRecipe(12), iterations: 2 };
    const mark = (out: string): Promise<unknown> =>
      markDataset({ key, model, dataset, fraction: 0.5, recipe, out, batchSize: 1 });
    await mark(at('full-whole'));
    const whole = bothListings(at('full-whole'));
    const out = at('full-out');
    let failures = 0;
    for (let count = 0; ; count++) {
      Object.assign(life, { left: count, diskFull: true });
      const error = await mark(out).then(
        () => undefined,
        (reason: unknown) => reason,
      );
      Object.assign(life, { left: Number.POSITIVE_INFINITY, diskFull: false });
      if (!error) break;
      failures++;
      expect(error).toMatchObject({
        exitCode: 5,
        message: expect.stringMatching(/: no space left on the device; free some/),
      });
      expect(existsSync(out)).toBe(false);
      for (const [path, digest] of Object.entries(existsSync(`${out}.partial`) ? listing(`${out}.partial`) : {}))
        if (!path.endsWith('.tmp')) expect(digest, path).toBe(whole[0][path.replace('.writing/', '')]);
      await mark(out);
      expect(bothListings(out)).toEqual(whole);
      for (const part of [out, `${out}.private`]) rmSync(part, { recursive: true });
    }
    // Lock, journal, two images with a line each, two others, manifest in three pieces.
    expect(failures).toBe(11);
  });

  it('a full disk stops train with nothing half-written under a final name, and it goes on', async () => {
    const dataset = await openDataset(writeFolder(at('full-train'), 6));
    const train = (out: string): Promise<unknown> =>
      runTraining({
        device: device(),
        dataset,
        out,
        network: { width: 4 },
        recipe: { epochs: 1, batchSize: 2 },
        checkpointSteps: 1,
        resume: true,
      });
    const whole = at('full-train.safetensors');
    await train(whole);
    let failures = 0;
    for (let count = 0; ; count++) {
      const out = at('full-train-out.safetensors');
      Object.assign(life, { left: count, diskFull: true });
      const error = await train(out).then(
        () => undefined,
        (reason: unknown) => reason,
      );
      Object.assign(life, { left: Number.POSITIVE_INFINITY, diskFull: false });
      if (!error) break;
      failures++;
      const message = expect.stringMatching(/: no space left on the device; free some and run again$/);
      expect(error).toMatchObject({ exitCode: 5, message });
      expect(existsSync(out)).toBe(false);
      await train(out);
      for (const extension of ['', '.json'])
        expect(readFileSync(out + extension).equals(readFileSync(whole + extension))).toBe(true);
      for (const extension of ['', '.json']) rmSync(out + extension);
    }
    // The lock, two checkpoints, the report, the model.
    expect(failures).toBe(5);
  });

  it('train stopped by its signal loses no step', async () => {
    const dataset = await openDataset(writeFolder(at('stopped'), 8));
    const recipe = { epochs: 3, batchSize: 4 };
    const train = (out: string, stopAt?: number): Promise<unknown> => {
      const stop = new AbortController();
      const seen: number[] = [];
      return runTraining({
        device: device(),
        dataset,
        out,
        network: { width: 4 },
        recipe,
        resume: true,
        signal: stop.signal,
        onProgress: (done) => {
          seen.push(done);
          if (done === stopAt) stop.abort();
        },
      }).finally(() => {
        if (stopAt === undefined && out === at('stopped.safetensors')) expect(seen[0]).toBe(16);
      });
    };
    await train(at('whole-run.safetensors'));
    await expect(train(at('stopped.safetensors'), 12)).rejects.toThrow('aborted');
    expect(existsSync(at('stopped.safetensors.checkpoint'))).toBe(true);
    await train(at('stopped.safetensors'));
    expect(readFileSync(at('stopped.safetensors')).equals(readFileSync(at('whole-run.safetensors')))).toBe(true);
  });

  it('mark keeps what was done', async () => {
    const dataset = await openDataset(writeFolder(at('kept'), 6));
    const options = { key, model, dataset, fraction: 0.7, batchSize: 2, out: at('kept-out') };
    const recipe = { ...defaultMarkingRecipe(12), iterations: 2 };
    const stopped = new AbortController();
    const onProgress = (done: number): void => {
      if (done === 2) stopped.abort();
    };
    await expect(markDataset({ ...options, recipe, onProgress, signal: stopped.signal })).rejects.toThrow('aborted');
    await expect(markDataset({ ...options, recipe: { ...recipe, seed: 1 } })).rejects.toThrow(
      'kept-out.partial: was begun with another key, data set or options; finish it with those, or remove it',
    );
    const onResume = vi.fn();
    await markDataset({ ...options, recipe, onResume });
    expect(onResume).toHaveBeenCalledExactlyOnceWith(2);
  });
});

describe('the built program', () => {
  /** Shares of a run's duration after which it is killed. Ascending: a run that goes on is shorter than the one before. */
  const random = derive(7, 'kills');
  const moments = Array.from({ length: 6 }, (_, i) => 0.3 + (0.7 * (i + random.uniform())) / 6);

  beforeAll(async () => {
    build();
    const { writeFile } = await vi.importActual<typeof import('node:fs/promises')>('node:fs/promises');
    await writeFile(at('owner.key'), serializeKey(key));
    writeFolder(at('images'), 40);
    writeIdx(at('images-idx'), 40);
  });

  const markArguments = (data: string, out: string): string[] =>
    `mark --key ${at('owner.key')} --model ${at('marker.safetensors')} --data ${at(data)} --fraction 0.5 --iterations 40 --batch 3 -o ${out}`.split(
      ' ',
    );
  const trainArguments = (out: string): string[] =>
    `train --data ${at('images')} --width 4 --epochs 3 --batch-size 5 --checkpoint-steps 2 -o ${out}`.split(' ');

  /** Runs undisturbed, then another time with kills at all moments. Returns how often killing stopped a run. */
  async function killAndGoOn(args: (out: string) => string[], whole: string, killed: string): Promise<number> {
    const start = performance.now();
    expect((await run('cli', args(whole))).exitCode).toBe(0);
    const durationMs = performance.now() - start;
    let kills = 0;
    // On a machine that was busier before, the first moment may come after the end: then earlier ones are tried.
    for (let share = 1; kills === 0 && share > 0.05; share /= 2) {
      for (const part of [killed, `${killed}.private`]) rmSync(part, { recursive: true, force: true });
      for (const moment of moments) {
        if (existsSync(killed)) break;
        const killAfterMs = Math.round(share * moment * durationMs);
        const { exitCode, stderr } = await run('cli', args(killed), { killAfterMs });
        expect(exitCode ?? 0, stderr).toBe(0);
        if (exitCode === null) kills++;
      }
    }
    if (!existsSync(killed)) expect((await run('cli', args(killed))).exitCode).toBe(0);
    return kills;
  }

  it.each(['images', 'images-idx'])('mark ends with the same bytes after kills at any moment: %s', async (data) => {
    const [whole, killed] = [at(`${data}-whole`), at(`${data}-killed`)];
    const kills = await killAndGoOn((out) => markArguments(data, out), whole, killed);
    expect(kills).toBeGreaterThan(0);
    expect(bothListings(killed)).toEqual(bothListings(whole));
    expect(Object.keys(listing(`${whole}.private`))).toEqual(['manifest.json']);
  });

  it('train ends with the same bytes after kills at any moment, with --resume', async () => {
    const [whole, killed] = [at('whole.safetensors'), at('killed.safetensors')];
    const kills = await killAndGoOn((out) => [...trainArguments(out), '--resume'], whole, killed);
    expect(kills).toBeGreaterThan(0);
    for (const extension of ['', '.json'])
      expect(readFileSync(killed + extension).equals(readFileSync(whole + extension)), extension).toBe(true);
  });

  /** Ctrl-C, once, when a text appears. */
  function interruptAt(text: string): NonNullable<RunOptions['onStderr']> {
    let sent = false;
    return (stderr, kill) => {
      if (!sent && stderr.includes(text)) kill('SIGINT');
      sent ||= stderr.includes(text);
    };
  }

  it('mark says after Ctrl-C how to go on, and goes on', async () => {
    const out = at('interrupted');
    const stopped = await run('cli', markArguments('images', out), {
      onStderr: interruptAt('marking: '),
    });
    expect(stopped).toMatchObject({ exitCode: 130, stdout: '' });
    expect(ownLines(stopped).at(-1)).toBe('error: interrupted; run the same command again to go on');
    expect(existsSync(out)).toBe(false);
    expect((await run('cli', markArguments('images', out))).exitCode).toBe(0);
    expect(bothListings(out)).toEqual(bothListings(at('images-whole')));
  });

  it('train says after Ctrl-C how to go on, and goes on', async () => {
    const out = at('interrupted.safetensors');
    const stopped = await run('cli', trainArguments(out), {
      onStderr: interruptAt('epoch 1'),
    });
    expect(stopped).toMatchObject({ exitCode: 130, stdout: '' });
    expect(ownLines(stopped).at(-1)).toBe('error: interrupted; run the same command with --resume to go on');
    expect(existsSync(out)).toBe(false);
    const without = await run('cli', [...trainArguments(out), '--quiet']);
    expect(without.exitCode).toBe(3);
    expect(ownLines(without)).toEqual([
      `error: ${out}.checkpoint: a run was interrupted here; go on with --resume, or remove it`,
    ]);
    expect((await run('cli', [...trainArguments(out), '--resume'])).exitCode).toBe(0);
    expect(readFileSync(out).equals(readFileSync(at('whole.safetensors')))).toBe(true);
  });
});
