import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { chunks, Loader } from '../src/datasets/loader.ts';
import { evaluationCrop, FeatureExtractor, infer } from '../src/nn/inference.ts';
import { initialStateDict, Model } from '../src/nn/model.ts';
import { serializeModel } from '../src/nn/model_file.ts';
import type { NetworkConfig } from '../src/nn/networks.ts';
import { type Context, defineCommand } from '../src/node/cli/command.ts';
import { runCommand } from '../src/node/cli/program.ts';
import { openDataset } from '../src/node/datasets/open.ts';
import { derive } from '../src/random.ts';
import { Stopwatch } from '../src/stopwatch.ts';
import { photograph, writePhotographs, writeTree } from '../test/photographs.ts';
import { png } from '../test/png.ts';

/** A fresh colour ResNet-18: what it has learned does not matter for time, memory and survival. */
const network = (inputSize: number, width: number): NetworkConfig => ({
  architecture: 'resnet18',
  width,
  stem: inputSize > 64 ? 'imagenet' : 'small',
  numClasses: 2,
  inputSize,
  channels: 3,
  mean: [0.485, 0.456, 0.406],
  std: [0.229, 0.224, 0.225],
});

const bench = defineCommand({
  name: 'photographs',
  summary: 'Measures what folders of photographs need: idle device, memory, survival of kills',
  options: {
    what: {
      type: 'string',
      value: 'NAME',
      choices: ['pipeline', 'hostile', 'kills'],
      default: 'pipeline',
      description:
        'share of time the device idles while photographs are decoded; peak memory of mark on a folder with bad files; outputs after kills',
    },
    count: {
      type: 'integer',
      value: 'N',
      minimum: 2,
      description: 'images, default 128; 10000 for hostile; kills: 20',
    },
    data: { type: 'string', value: 'DATASET', description: 'pipeline: photographs of your own' },
    width: {
      type: 'integer',
      value: 'N',
      default: 16,
      minimum: 1,
      description: "pipeline: channels of the network's first stage",
    },
  },
  examples: ['', '--what hostile --json', '--what kills --count 20'],
  async run({ options, openDevice, log, signal, progress }) {
    const folder = await mkdtemp(join(tmpdir(), 'radioactive-bench-'));
    log(`load average ${loadavg()[0].toFixed(2)}`);
    try {
      if (options.what === 'pipeline') {
        const data = options.data ?? (await writeSome(folder, options.count ?? 128, 500, 375));
        const device = await openDevice();
        return pipeline(
          await Model.load(
            device,
            network(224, options.width),
            initialStateDict(network(224, options.width), 0),
            'fresh',
          ),
          data,
          signal,
        );
      }
      const model = await Model.load(await openDevice(), network(24, 4), initialStateDict(network(24, 4), 0), 'fresh');
      writeFileSync(join(folder, 'marker.safetensors'), await serializeModel(model));
      model.destroy();
      return options.what === 'hostile'
        ? await hostile(folder, options.count ?? 10_000, progress)
        : await kills(folder, options.count ?? 20, log);
    } finally {
      await rm(folder, { recursive: true });
    }
  },
});

async function writeSome(folder: string, count: number, width: number, height: number): Promise<string> {
  const root = join(folder, 'data');
  for (let i = 0; i < count; i++)
    writeTree(root, { [`${i % 2 ? 'owl' : 'elk'}/${i}.jpg`]: await photograph(i % 16, width, height, 'jpeg') });
  return root;
}

/** Extraction's wall time beside that of the same replays alone. */
async function pipeline(model: Model, data: string, signal: AbortSignal) {
  const loader = await Loader.open(await openDataset(data), 3);
  const { length } = loader.dataset;
  const batchSize = Math.min(16, length);
  const decoding = new Stopwatch();
  const cropOf = (image: { height: number; width: number }) => evaluationCrop(image, model.config);
  const undecoded = await Loader.open(loader.dataset, 3);
  for (const indices of chunks(length, batchSize))
    await decoding.time('decoding', undecoded.batch(indices, cropOf, model.config.inputSize));
  const first = await loader.batch([...Array(batchSize).keys()], cropOf, model.config.inputSize);
  const extractor = await FeatureExtractor.create(model, loader.pixels, batchSize);
  await extractor.run(first.regions);
  const replays = Math.ceil(length / batchSize);
  const alone = new Stopwatch();
  for (let i = 0; i < replays; i++) await alone.time('device', extractor.run(first.regions));
  extractor.destroy();
  const stopwatch = new Stopwatch();
  // A loader of its own: nothing is in its memory yet.
  const fresh = await Loader.open(loader.dataset, 3);
  await stopwatch.time('all', infer(model, fresh, { batchSize, signal, stopwatch }));
  const { all, ...stages } = stopwatch.report().stages;
  const device = alone.report().stages.device;
  const decode = decoding.report().stages.decoding;
  const json = {
    images: length,
    imagesPerSecond: length / all,
    secondsTogether: all,
    secondsDecodingAlone: decode,
    secondsDeviceAlone: device,
    deviceIdleShare: Math.max(0, 1 - device / all),
    stages,
  };
  model.destroy();
  return {
    json,
    text: `${length} images in ${all} s, ${json.imagesPerSecond.toFixed(1)} a second; decoding alone ${decode} s, device alone ${device} s: the device idles ${(100 * json.deviceIdleShare).toFixed(1)} % of the time`,
  };
}

/** Runs the built command line. Resolves to its exit code (null where it was killed) and its peak resident memory in MiB (Linux). */
function command(
  args: readonly string[],
  killAfterMs?: number,
): Promise<{ exitCode: number | null; stdout: string; peakMiB: number }> {
  const child = spawn(process.execPath, ['dist/cli.js', ...args], {
    stdio: ['ignore', 'pipe', 'ignore'],
    ...(killAfterMs !== undefined && { timeout: killAfterMs, killSignal: 'SIGKILL' as const }),
  });
  let stdout = '';
  let peakMiB = Number.NaN;
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  const timer = setInterval(() => {
    try {
      const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
      peakMiB = Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? peakMiB * 1024) / 1024;
    } catch {
      // It has ended, or this is no Linux.
    }
  }, 200);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (exitCode) => {
      clearInterval(timer);
      resolve({ exitCode, stdout, peakMiB });
    });
  });
}

const typed = (line: string): string[] => line.split(' ');

/** A key for the two classes. Returns the beginning of a command line that marks with it. */
async function markWith(folder: string, data: string): Promise<string> {
  writeFileSync(join(folder, 'classes.txt'), 'elk\nowl\n');
  const { exitCode } = await command(
    typed(
      `keygen --classes ${folder}/classes.txt --carriers uniform --model ${folder}/marker.safetensors -o ${folder}/owner.key`,
    ),
  );
  if (exitCode !== 0) throw new Error(`keygen ended with ${exitCode}`);
  return `mark --key ${folder}/owner.key --model ${folder}/marker.safetensors --data ${data} --crop-scale 0.08,1`;
}

/** Files of `test/golden/images` that are refused, and some that are good although they look odd. */
const REFUSED = ['cmyk', 'grey-12-bit', 'plain-cut', 'scan-missing', 'two-components', 'ultra-hdr-cut'];
const ODD = ['adobe-7', 'jfif-0.00', 'orientation-6', 'progressive', 'restart', 'samsung-sos', 'ultra-hdr'];

/** Marks a fiftieth of a large folder of which every fiftieth file is bad, and as many are odd. */
async function hostile(folder: string, count: number, progress: Context<unknown>['progress']) {
  const data = join(folder, 'data');
  const display = progress('writing photographs', count, 'files');
  const pool: Buffer[] = [];
  for (let i = 0; i < 20; i++) pool.push(await photograph(i, 200 + 37 * i, 180 + 31 * i, 'jpeg'));
  const bombs = png({ width: 20_000, height: 20_000, colorType: 0, rows: new Uint8Array(1e6) });
  const golden = (name: string): Buffer => readFileSync(`test/golden/images/${name}`);
  const noise = derive(1, 'noise');
  const bad: ((bytes: Buffer) => Uint8Array)[] = [
    (bytes) => bytes.subarray(0, bytes.length >> 1),
    () => Buffer.alloc(0),
    () => bombs,
    () => Buffer.from('version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n'),
    () => Buffer.from('<!DOCTYPE html><html><body>404</body></html>'),
    (bytes) => Buffer.concat([bytes.subarray(0, 2), Uint8Array.from({ length: 4000 }, () => noise.below(256))]),
    () => golden('animated.webp'),
    () => golden('grey16-of-12-bits.png'),
    ...REFUSED.map((name) => () => golden(`${name}.jpg`)),
  ];
  const odd = ODD.map((name) => golden(`${name}.jpg`));
  let expected = 0;
  for (let i = 0; i < count; i++) {
    const turn = Math.floor(i / 50);
    const bytes = pool[i % pool.length];
    const isBad = i % 50 === 49;
    if (isBad) expected++;
    const content = isBad ? bad[turn % bad.length](bytes) : i % 50 === 24 ? odd[turn % odd.length] : bytes;
    writeTree(data, { [`${i % 2 ? 'owl' : 'elk'}/${i}.jpg`]: content });
    display.update(i + 1);
  }
  display.done();
  const line = `${await markWith(folder, data)} --fraction 0.02 --iterations 1 -o ${folder}/marked --json`;
  const { exitCode, stdout, peakMiB } = await command(typed(line));
  if (exitCode !== 3) throw new Error(`mark ended with ${exitCode}: ${stdout}`);
  const { summary, skipped, timing } = JSON.parse(stdout) as {
    summary: { marked: number };
    skipped: readonly { readonly reason: string }[];
    timing: unknown;
  };
  if (skipped.length !== expected) throw new Error(`${skipped.length} files were skipped, ${expected} are bad`);
  const reasons: Record<string, number> = {};
  for (const { reason } of skipped) reasons[reason] = (reasons[reason] ?? 0) + 1;
  const json = { images: count, marked: summary.marked, skipped: skipped.length, reasons, peakMiB, timing };
  return {
    json,
    text: [
      `${count} files: ${json.marked} marked, ${json.skipped} skipped; at most ${peakMiB.toFixed(0)} MiB resident`,
      ...Object.entries(reasons).map(([reason, times]) => `${String(times).padStart(6)}  ${reason}`),
    ].join('\n'),
  };
}

/** Kills `mark` and `train` at random moments and compares what comes out with undisturbed runs. */
async function kills(folder: string, count: number, log: Context<unknown>['log']) {
  const data = await writePhotographs(join(folder, 'data'), 40, 60);
  const random = derive(Date.now(), 'kills');
  const train = `train --data ${data} --input-size 24 --width 4 --epochs 4 --batch-size 10 --checkpoint-steps 3 --resume`;
  const lines = { mark: `${await markWith(folder, data)} --fraction 0.8 --iterations 4 --batch 4`, train };
  const json: Record<string, { kills: number; equal: boolean }> = {};
  for (const [name, line] of Object.entries(lines)) {
    const [whole, killed] = [join(folder, `${name}-whole.safetensors`), join(folder, `${name}-killed.safetensors`)];
    const start = performance.now();
    if ((await command(typed(`${line} -o ${whole}`))).exitCode !== 0) throw new Error(`${name} failed`);
    const durationMs = performance.now() - start;
    let done = 0;
    let equal = true;
    while (done < count) {
      // From the start to what an undisturbed run takes: where it goes on from grows with every kill.
      const moment = Math.round(random.uniform() * durationMs);
      const { exitCode } = await command(typed(`${line} -o ${killed}`), moment);
      if (exitCode === null) {
        done++;
        log(`${name}: killed after ${moment} ms`);
        continue;
      }
      equal &&= exitCode === 0 && digest(killed) === digest(whole);
      rmSync(killed, { recursive: true, force: true });
      rmSync(`${killed}.json`, { force: true });
    }
    const { exitCode } = await command(typed(`${line} -o ${killed}`));
    equal &&= exitCode === 0 && digest(killed) === digest(whole);
    json[name] = { kills: done, equal };
  }
  const text = Object.entries(json).map(
    ([name, { kills, equal }]) => `${name}: ${kills} kills, the outputs are ${equal ? 'the same bytes' : 'DIFFERENT'}`,
  );
  return { json, text: text.join('\n'), exitCode: Object.values(json).every(({ equal }) => equal) ? 0 : 6 };
}

/** Of a file, or of all files of a folder with their names. */
function digest(path: string): string {
  const hash = createHash('sha256');
  const files = statSync(path).isFile()
    ? [path]
    : readdirSync(path, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name))
        .sort();
  for (const file of files) hash.update(file.slice(path.length)).update('\0').update(readFileSync(file)).update('\0');
  return hash.digest('hex');
}

await runCommand('npm run bench:photographs --', bench, process.argv.slice(2));
