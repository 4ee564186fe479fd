import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Dataset } from '../../datasets/dataset.ts';
import { hashDataset } from '../../datasets/hash.ts';
import { InputError } from '../../errors.ts';
import { RESULT_NAME, type Result } from '../../evidence/result.ts';
import type { Verification } from '../../evidence/verification.ts';
import { jsonDocument } from '../../formats/json.ts';
import { psnr } from '../../images/metrics.ts';
import { difference, type PictureRow, pictureOf } from '../../images/picture.ts';
import type { Key } from '../../marking/key.ts';
import { keygen } from '../../marking/keygen.ts';
import { markingRecipeFor } from '../../marking/recipe.ts';
import type { OnProgress } from '../../nn/inference.ts';
import { FASHION_MNIST_CLASSES, findFashionMnist } from '../datasets/fashion_mnist.ts';
import { openDataset } from '../datasets/open.ts';
import { openMarked } from '../evidence/marked.ts';
import { registerPath } from '../evidence/register.ts';
import { readResult } from '../evidence/result.ts';
import { exists } from '../files/files.ts';
import { PRIVATE_FILE_MODE } from '../files/private_part.ts';
import { writeAtomic } from '../files/write.ts';
import { nodeCodec } from '../images/codec.ts';
import { assembleReport } from '../report/assemble.ts';
import { quietContext, type RunContext } from '../runs/context.ts';
import { concludeDetection, detectCommand, testWhiteBox } from '../runs/detect.ts';
import { checkVanilla, openHeldOut, saveKey } from '../runs/inputs.ts';
import { markDataset } from '../runs/mark_dataset.ts';
import { openModel } from '../runs/open_model.ts';
import { type OpenedSuspect, openSuspect } from '../runs/suspect.ts';
import { runTraining, type TrainingReport } from '../runs/training_run.ts';
import { runVerification } from '../runs/verify.ts';

export interface DemoOptions extends Pick<RunContext, 'openDevice' | 'progress' | 'log' | 'signal'> {
  /** The marking network shipped with the project. */
  readonly marker: string;
  /** Folder with Fashion-MNIST's IDX files; found or downloaded where absent. */
  readonly data?: string | undefined;
  /** Everything is written here; must not exist. */
  readonly out: string;
  /** Share of each class's images that are marked: those that the marking network finds hardest. */
  readonly fraction: number;
  /** The owner's images, a range of the training set that the marking network has not seen. */
  readonly ownerRange: readonly [number, number];
}

export interface DemoRow {
  readonly name: string;
  readonly log10p: number;
  readonly meanCosine: number;
  readonly accuracy: number;
  /** How many of 1 000 fresh keys, which marked nothing, give this model as small a p-value. */
  readonly freshKeysAtMost: number;
}

export interface DemoResult {
  readonly out: string;
  readonly adapter: string;
  readonly images: number;
  readonly marked: number;
  readonly psnrMedian: number;
  readonly psnrMin: number;
  readonly keyCommitment: string;
  readonly secondsByStage: Readonly<Record<string, number>>;
  readonly seconds: number;
  readonly results: readonly DemoRow[];
  /** What a third party could check, and whether it holds. */
  readonly verification: Pick<Verification, 'passed' | 'failed' | 'notChecked'>;
}

/**
 * The whole story on Fashion-MNIST: an owner marks a share of their images with a fresh key; a third party trains on them; the
 * test finds the mark. Beside it two controls through the same code: a model trained on the unmarked images, and a key that was
 * never used. Verifies the evidence. Leaves the marked images, keys, models, results, a report and a picture in `out`.
 */
export async function runDemo(options: DemoOptions): Promise<DemoResult> {
  const { out, log, signal } = options;
  if (await exists(out)) throw new InputError(`${out}: exists already; choose another folder with -o, or remove it`);
  const device = await options.openDevice();
  const { stage, seconds } = stopwatchOf(options);
  const at = (name: string): string => join(out, name);
  const folder = options.data ?? (await findFashionMnist(join('.data', 'fashion-mnist'), log));
  await mkdir(out, { recursive: true });
  const classes = FASHION_MNIST_CLASSES;
  const ownerPath = `${folder}#${options.ownerRange.join(':')}`;
  const owner = await openDataset(ownerPath, { split: 'train', classes });
  const heldOut = await openHeldOut(folder, { split: 'test', classes });
  const { model: marker, sha256 } = await openModel(device, options.marker);
  try {
    const vanilla = await checkVanilla(owner);
    const { length: count } = heldOut.dataset;
    const fixed = { kind: 'content' as const, count, sha256: await hashDataset(heldOut.dataset) };
    const newKey = (onProgress?: OnProgress): Promise<Key> =>
      keygen({
        classes,
        model: marker,
        modelSha256: sha256,
        carriers: 'subspace',
        dimension: DEMO_SUBSPACE,
        vanilla,
        heldOut: fixed,
        ...(onProgress && { onProgress }),
        signal,
      });
    const key = await stage('find the subspace', 'images', newKey);
    // Another key of the same kind, from the same public subspace, that marks nothing.
    const unused = await newKey();
    const published = await saveKey(at(OWNER_KEY), key);
    await saveKey(at(UNUSED_KEY), unused);
    log(`commitment to publish before the data: ${published}`);

    const markedFolder = at('marked');
    const manifest = await stage('mark', 'images', (onProgress) =>
      markDataset({
        key,
        model: marker,
        dataset: owner,
        fraction: options.fraction,
        // It was trained on other images of these classes.
        hardest: { classifier: marker, sha256 },
        recipe: markingRecipeFor(marker.config),
        out: markedFolder,
        onProgress,
        ...(signal && { signal }),
      }),
    );
    const marked = await openDataset(markedFolder, { split: 'train', classes });
    const markedIds = manifest.images.map(({ id }) => id);
    const rows = await pairs(owner, marked, markedIds);
    const titles = ['original', 'marked', 'difference ×10'];
    await writeAtomic(at('marked.svg'), encode(await pictureOf(titles, rows, PICTURE_CELL, await nodeCodec())));

    const trainOn = (name: string, dataset: Dataset): Promise<TrainingReport> =>
      stage(`train ${name}`, 'images', (onProgress) =>
        runTraining({
          device,
          dataset,
          validation: heldOut.dataset,
          out: at(`${name}.safetensors`),
          init: options.marker,
          recipe: { freezeFeatures: true, seed: 1 },
          onProgress,
          ...(signal && { signal }),
        }),
      );
    const onMarked = await trainOn('suspect', marked);
    const onUnmarked = await trainOn('innocent', owner);

    const results = await stage('detect', 'images', async (onProgress) => {
      const quiet = quietContext(device, signal);
      const open = ({ model }: TrainingReport): Promise<OpenedSuspect> =>
        openSuspect(quiet, { model }, classes, heldOut);
      const suspect = await open(onMarked);
      const innocent = await open(onUnmarked);
      try {
        const found: DemoRow[] = [];
        for (const [name, tested, keyFile, model, training] of [
          ['marked', key, OWNER_KEY, suspect, onMarked],
          ['control: unmarked', key, OWNER_KEY, innocent, onUnmarked],
          ['control: other key', unused, UNUSED_KEY, suspect, onMarked],
        ] as const) {
          const opened = { heldOut, path: folder, marking: marker, suspect: model, adapter: device.name };
          // Features of each network are computed once: after the first test those of one more.
          const before = found.length * count;
          const finding = await testWhiteBox(tested, opened, {
            onProgress: (done) => onProgress(before + done, 3 * count),
            signal,
          });
          const outputs = {
            key: at(keyFile),
            output: at(`result-${name.replace('control: ', '').replace(' ', '-')}.json`),
            // Of the one that found the mark, all that it was made from, for `radioactive verify`.
            ...(name === 'marked' && { save: at(EVIDENCE) }),
          };
          const result = await concludeDetection(tested, finding, {
            ...outputs,
            command: detectCommand({
              key: outputs.key,
              test: 'white-box',
              model: options.marker,
              data: folder,
              suspect: { model: training.model },
            }),
          });
          found.push(demoRow(name, result, training));
        }
        return found;
      } finally {
        suspect.destroy();
        innocent.destroy();
      }
    });

    const verification = await stage('verify', 'images', (onProgress) =>
      runVerification(
        {
          key: at(OWNER_KEY),
          published,
          model: options.marker,
          result: join(at(EVIDENCE), RESULT_NAME),
          marked: { path: markedFolder, split: 'train' },
          original: { path: ownerPath, split: 'train' },
          heldOut: { path: folder, split: 'test' },
        },
        {
          progress: (_, total) => ({ update: (done) => onProgress(done, total), done: () => undefined }),
          signal,
          openDevice: async () => device,
          log: () => undefined,
        },
      ),
    );
    await writeAtomic(at('verification.json'), encode(jsonDocument(verification)), PRIVATE_FILE_MODE);
    const { page } = await assembleReport({
      result: await readResult(join(at(EVIDENCE), RESULT_NAME)),
      register: registerPath(at(OWNER_KEY)),
      marked: { folder: await openMarked(markedFolder), dataset: marked, original: owner },
      verification,
    });
    await writeAtomic(at('report.html'), encode(page), PRIVATE_FILE_MODE);

    const { passed, failed, notChecked } = verification;
    const result: DemoResult = {
      out,
      adapter: device.name,
      images: owner.length,
      marked: manifest.images.length,
      psnrMedian: Number(manifest.summary.psnrMedian),
      psnrMin: Number(manifest.summary.psnrMin),
      keyCommitment: published,
      secondsByStage: seconds,
      seconds: Object.values(seconds).reduce((sum, each) => sum + each, 0),
      results,
      verification: { passed, failed, notChecked },
    };
    await writeAtomic(at('demo.json'), encode(jsonDocument(result)));
    return result;
  } finally {
    marker.destroy();
  }
}

/** Runs stages of work, each under a display of its own, and tells the seconds that each took. */
function stopwatchOf({ progress, signal }: Pick<RunContext, 'progress' | 'signal'>) {
  const seconds: Record<string, number> = {};
  const stage = async <T>(name: string, unit: string, body: (follow: OnProgress) => Promise<T>): Promise<T> => {
    signal?.throwIfAborted();
    const start = performance.now();
    let display: ReturnType<RunContext['progress']> | undefined;
    try {
      return await body((done, total) => {
        display ??= progress(name, total, unit);
        display.update(done);
      });
    } finally {
      display?.done();
      seconds[name] = (performance.now() - start) / 1000;
    }
  };
  return { stage, seconds };
}

const demoRow = (name: string, { log10p, meanCosine, statistics }: Result, training: TrainingReport): DemoRow => ({
  name,
  log10p: Number(log10p),
  meanCosine: Number(meanCosine),
  accuracy: training.accuracy.validation!,
  freshKeysAtMost: statistics[0].null!.atMost,
});

/** Directions the demo's carriers are drawn in. */
const DEMO_SUBSPACE = 32;
/** Side of the picture's images, in pixels. */
const PICTURE_CELL = 112;

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);

const EVIDENCE = 'evidence';
const OWNER_KEY = 'owner.key';
const UNUSED_KEY = 'unused.key';

/** A marked image of each class beside its original, for the picture. */
async function pairs(original: Dataset, marked: Dataset, markedIds: readonly string[]): Promise<PictureRow[]> {
  const chosen = new Set(markedIds);
  const found: PictureRow[] = [];
  for (let label = 0; label < original.classes.length; label++) {
    const index = marked.labels.findIndex((value, i) => value === label && chosen.has(marked.id(i)));
    if (index < 0) continue;
    const [before, after] = [await original.image(index), await marked.image(index)];
    found.push({
      label: [original.classes[label], `${psnr(before, after).toFixed(1)} dB`],
      cells: [before, after, difference(before, after)].map((image) => ({ image })),
    });
  }
  return found.slice(0, 6);
}
