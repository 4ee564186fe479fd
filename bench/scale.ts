/** What a large data set needs: memory, time until it is open, images a second. */

import { mkdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { pack } from 'tar-stream';
import { createKey } from '../src/marking/key.ts';
import { defaultMarkingRecipe } from '../src/marking/recipe.ts';
import { initialStateDict, Model } from '../src/nn/model.ts';
import type { NetworkConfig } from '../src/nn/networks.ts';
import { columns, defineCommand } from '../src/node/cli/command.ts';
import { runCommand } from '../src/node/cli/program.ts';
import { openDataset } from '../src/node/datasets/open.ts';
import { writeStreamed } from '../src/node/files/write.ts';
import { markDataset } from '../src/node/runs/mark_dataset.ts';
import { derive } from '../src/random.ts';
import { Stopwatch } from '../src/stopwatch.ts';
import { pngOf } from '../test/png.ts';

const SIDE = 32;
const CLASSES = 10;
/** Different pictures: how large a set is does not depend on what it shows. */
const PICTURES = 64;

const network: NetworkConfig = {
  architecture: 'resnet18',
  width: 4,
  stem: 'small',
  numClasses: CLASSES,
  inputSize: SIDE,
  channels: 3,
  mean: [0.5, 0.5, 0.5],
  std: [0.25, 0.25, 0.25],
};

const bench = defineCommand({
  name: 'scale',
  summary: 'Measures what mark needs for a large data set: memory, time until it is open, images a second',
  options: {
    count: { type: 'integer', value: 'N', default: 1_000_000, minimum: 10, description: 'generated images of 32x32' },
    shard: { type: 'integer', value: 'N', default: 10_000, minimum: 1, description: 'images a shard' },
    fraction: { type: 'number', value: 'Q', default: 0.001, minimum: 0, maximum: 1, description: 'share to mark' },
    copy: { type: 'flag', description: 'copy unmarked images, so that what is measured is not the encoding of images' },
  },
  examples: ['', '--count 100000 --copy --json'],
  async run({ options, openDevice, log, signal, progress }) {
    const { count, shard, fraction } = options;
    const folder = await mkdtemp(join(tmpdir(), 'radioactive-scale-'));
    const device = await openDevice();
    const model = await Model.load(device, network, initialStateDict(network, 1), 'fresh weights');
    try {
      const data = join(folder, 'data');
      mkdirSync(data);
      const writing = progress('generating', count, 'images');
      const pictures = Array.from({ length: PICTURES }, (_, i) => pictureOf(i));
      for (let first = 0; first < count; first += shard) {
        const name = `${String(first / shard).padStart(6, '0')}.tar`;
        await writeStreamed(join(data, name), samples(pictures, first, Math.min(first + shard, count)));
        writing.update(Math.min(first + shard, count));
      }
      writing.done();
      const before = memory();
      const opened = performance.now();
      const dataset = await openDataset(data, { keepFaults: true });
      const openSeconds = (performance.now() - opened) / 1000;
      const afterOpening = memory();
      log(`opened in ${openSeconds.toFixed(1)} s, ${afterOpening} MiB`);
      const key = await createKey({
        classes: dataset.classes,
        model: {
          sha256: 'ab'.repeat(32),
          architecture: network.architecture,
          featureDimension: model.featureDimension,
        },
        basis: null,
        centre: true,
      });
      const stopwatch = new Stopwatch();
      const reading = progress('reading', count, 'images');
      const others = progress('writing', count, 'images');
      const marked = performance.now();
      const { summary } = await markDataset({
        key,
        model,
        dataset,
        fraction,
        copyUnmarked: options.copy,
        recipe: { ...defaultMarkingRecipe(SIDE), iterations: 2 },
        out: join(folder, 'marked'),
        stopwatch,
        signal,
        onRead: reading.update,
        onWrite: others.update,
      });
      const markSeconds = (performance.now() - marked) / 1000;
      const again = performance.now();
      const { length } = await openDataset(join(folder, 'marked'));
      if (length !== count) throw new Error(`${length} images were written, ${count} expected`);
      const json = {
        count,
        marked: Number(summary.marked),
        openSeconds,
        openAgainSeconds: (performance.now() - again) / 1000,
        markSeconds,
        imagesPerSecond: count / markSeconds,
        timing: stopwatch.report(),
        mebibytes: { before, afterOpening, peak: Math.round(process.resourceUsage().maxRSS / 1024) },
        load: loadavg()[0],
        adapter: device.name,
      };
      const rows = [
        ['images, marked', `${count}, ${json.marked}`],
        ['opened in', `${openSeconds.toFixed(1)} s`],
        [
          options.copy ? 'marked, others copied, in' : 'marked in',
          `${markSeconds.toFixed(1)} s, ${json.imagesPerSecond.toFixed(0)} images/s`,
        ],
        ['resident', `${before} MiB before, ${afterOpening} when open, ${json.mebibytes.peak} at most`],
        ['load', json.load.toFixed(1)],
      ];
      return { json, text: columns(rows).join('\n') };
    } finally {
      model.destroy();
      await rm(folder, { recursive: true, force: true });
    }
  },
});

const memory = (): number => Math.round(process.memoryUsage().rss / 2 ** 20);

function pictureOf(seed: number): Buffer {
  const random = derive(seed, 'picture');
  const data = Uint8Array.from({ length: SIDE * SIDE * 3 }, () => random.below(256));
  return Buffer.from(pngOf({ width: SIDE, height: SIDE, channels: 3, data }));
}

/** A shard with the samples from `first` to `end` − 1. */
async function* samples(pictures: readonly Buffer[], first: number, end: number): AsyncGenerator<Uint8Array> {
  const archive = pack();
  const fill = async (): Promise<void> => {
    for (let i = first; i < end; i++) {
      const key = String(i).padStart(9, '0');
      await new Promise((done) => archive.entry({ name: `${key}.png` }, pictures[i % pictures.length], done));
      await new Promise((done) => archive.entry({ name: `${key}.cls` }, String(i % CLASSES), done));
    }
    archive.finalize();
  };
  const filled = fill();
  for await (const piece of archive as AsyncIterable<Uint8Array>) yield piece;
  await filled;
}

await runCommand('npm run bench:scale --', bench, process.argv.slice(2));
