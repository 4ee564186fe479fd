import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Dataset } from '../../datasets/dataset.ts';
import { hashDataset } from '../../datasets/hash.ts';
import { Loader } from '../../datasets/loader.ts';
import { suspectFeatures, testFeatures } from '../../detection/detect.ts';
import { InputError } from '../../errors.ts';
import { jsonDocument } from '../../formats/json.ts';
import type { Device } from '../../gpu/device.ts';
import { psnr } from '../../images/metrics.ts';
import { difference, type PictureRow, pictureOf } from '../../images/picture.ts';
import { commitment, createKey, type Key, serializeKey } from '../../marking/key.ts';
import { vanillaSubspace } from '../../marking/keygen.ts';
import { markingRecipeFor } from '../../marking/recipe.ts';
import { infer, type OnProgress } from '../../nn/inference.ts';
import { FASHION_MNIST_CLASSES, findFashionMnist } from '../datasets/fashion_mnist.ts';
import { openMarked } from '../datasets/marked_folder.ts';
import { openDataset } from '../datasets/open.ts';
import { beginRegister, registerPath } from '../evidence/register.ts';
import { concludeTest, RESULT_NAME, readResult } from '../evidence/result.ts';
import { saveFeatures } from '../evidence/saved.ts';
import { concludeVerification, type Verification } from '../evidence/verification.ts';
import { verifyEvidence } from '../evidence/verify.ts';
import { exists } from '../files/files.ts';
import { writeAtomic } from '../files/write.ts';
import { nodeCodec } from '../images/codec.ts';
import { assembleReport, DEFAULT_SHOWN } from '../report/assemble.ts';
import { markDataset } from '../runs/mark_dataset.ts';
import { openModel } from '../runs/open_model.ts';
import { runTraining, type TrainingReport } from '../runs/training_run.ts';

export interface DemoOptions {
  readonly device: Device;
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
  readonly progress: (title: string, total: number, unit: string) => { update(done: number): void; done(): void };
  readonly log: (line: string) => void;
  readonly signal?: AbortSignal;
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
  const { device, out, log, signal } = options;
  if (await exists(out)) throw new InputError(`${out}: exists already; choose another folder with -o, or remove it`);
  const stages: Record<string, number> = {};
  const stage = async <T>(name: string, unit: string, body: (follow: OnProgress) => Promise<T>): Promise<T> => {
    signal?.throwIfAborted();
    const start = performance.now();
    let display: ReturnType<DemoOptions['progress']> | undefined;
    try {
      return await body((done, total) => {
        display ??= options.progress(name, total, unit);
        display.update(done);
      });
    } finally {
      display?.done();
      stages[name] = (performance.now() - start) / 1000;
    }
  };

  const folder = options.data ?? (await findFashionMnist(join('.data', 'fashion-mnist'), log));
  await mkdir(out, { recursive: true });
  const classes = FASHION_MNIST_CLASSES;
  const owner = await openDataset(`${folder}#${options.ownerRange.join(':')}`, { split: 'train', classes });
  const heldOut = await openDataset(folder, { split: 'test', classes });
  const { model: marker, sha256 } = await openModel(device, options.marker);
  try {
    const channels = marker.config.channels;
    const ownerImages = await Loader.open(owner, channels);
    const heldOutImages = await Loader.open(heldOut, channels);

    const basis = await stage('find the subspace', 'images', (onProgress) =>
      vanillaSubspace(marker, ownerImages, classes.length, DEMO_SUBSPACE, { onProgress, signal }),
    );
    const data = { path: folder, count: heldOut.length, sha256: await hashDataset(heldOut) };
    const newKey = (): Promise<Key> =>
      createKey({
        classes,
        model: { sha256, architecture: marker.config.architecture, featureDimension: marker.featureDimension },
        basis,
        centre: true,
        heldOut: { kind: 'content', count: data.count, sha256: data.sha256 },
      });
    const key = await newKey();
    // Another key of the same kind, from the same public subspace, that marks nothing.
    const unused = await newKey();
    await saveKey(join(out, OWNER_KEY), key);
    await saveKey(join(out, UNUSED_KEY), unused);
    const published = await commitment(key);
    log(`commitment to publish before the data: ${published}`);

    const markedFolder = join(out, 'marked');
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
    await writeAtomic(
      join(out, 'marked.svg'),
      encode(
        await pictureOf(
          ['original', 'marked', 'difference ×10'],
          await pairs(
            owner,
            marked,
            manifest.images.map(({ id }) => id),
          ),
          PICTURE_CELL,
          await nodeCodec(),
        ),
      ),
    );

    const trainOn = (name: string, dataset: Dataset) =>
      stage(`train ${name}`, 'images', (onProgress) =>
        runTraining({
          device,
          dataset,
          validation: heldOut,
          out: join(out, `${name}.safetensors`),
          init: options.marker,
          recipe: { freezeFeatures: true, seed: 1 },
          onProgress,
          ...(signal && { signal }),
        }),
      );
    const onMarked = await trainOn('suspect', marked);
    const onUnmarked = await trainOn('innocent', owner);

    const results = await stage('detect', 'images', async (follow) => {
      const update = (done: number): void => follow(done, 3 * heldOut.length);
      const { features: featuresMarking } = await infer(marker, heldOutImages, { onProgress: update, signal });
      const featuresOf = async (trained: TrainingReport, offset: number) => {
        const { model, sha256 } = await openModel(device, trained.model);
        const onProgress = (done: number): void => update(offset + done);
        return {
          model,
          path: trained.model,
          sha256,
          accuracy: trained.accuracy.validation!,
          ...(await suspectFeatures({ model, heldOut: heldOutImages }, { onProgress, signal })),
        };
      };
      const suspect = await featuresOf(onMarked, heldOut.length);
      const innocent = await featuresOf(onUnmarked, 2 * heldOut.length);
      const rows: DemoRow[] = [];
      for (const [name, usedKey, keyName, tested] of [
        ['marked', key, OWNER_KEY, suspect],
        ['control: unmarked', key, OWNER_KEY, innocent],
        ['control: other key', unused, UNUSED_KEY, suspect],
      ] as const) {
        const report = await testFeatures(usedKey, featuresMarking, tested);
        const keyPath = join(out, keyName);
        // Of the one that found the mark, all that it was made from, for `radioactive verify`.
        const evidence = name === 'marked' ? join(out, EVIDENCE) : undefined;
        const saved =
          evidence === undefined
            ? undefined
            : await saveFeatures(evidence, { marking: featuresMarking, ...tested, n: data.count });
        const { path, sha256 } = tested;
        const line = `radioactive detect --key ${keyPath} --model ${options.marker} --suspect ${path} --data ${folder}`;
        const result = await concludeTest(
          report,
          {
            key: usedKey,
            test: 'white-box',
            suspect: { path, sha256 },
            data,
            adapter: device.name,
            command: line.split(' '),
            saved,
          },
          registerPath(keyPath),
        );
        const document = encode(jsonDocument(result));
        await writeAtomic(join(out, `result-${name.replace('control: ', '').replace(' ', '-')}.json`), document);
        if (evidence) await writeAtomic(join(evidence, RESULT_NAME), document);
        const { log10p, meanCosine, statistics } = report;
        rows.push({
          name,
          log10p,
          meanCosine,
          accuracy: tested.accuracy,
          freshKeysAtMost: statistics[0].null!.atMost,
        });
      }
      suspect.model.destroy();
      innocent.model.destroy();
      return rows;
    });

    const tested = await readResult(join(out, EVIDENCE, RESULT_NAME));
    const register = registerPath(join(out, OWNER_KEY));
    const markedImages = { folder: await openMarked(markedFolder), dataset: marked, original: owner };
    const verification = await stage('verify', 'images', async (onProgress) =>
      concludeVerification(
        await verifyEvidence({
          key,
          keyPath: join(out, OWNER_KEY),
          published,
          modelPath: options.marker,
          result: tested,
          features: join(out, EVIDENCE),
          register,
          marked: markedImages,
          original: owner,
          sample: VERIFIED_SAMPLE,
          heldOut,
          onProgress,
          signal,
        }),
        { keyCommitment: published, result: tested.json },
      ),
    );
    await writeAtomic(join(out, 'verification.json'), encode(jsonDocument(verification)));
    const { page } = await assembleReport({
      result: tested,
      register,
      marked: { ...markedImages, count: DEFAULT_SHOWN },
      verification,
    });
    await writeAtomic(join(out, 'report.html'), encode(page));

    const { passed, failed, notChecked } = verification;
    const result: DemoResult = {
      out,
      adapter: device.name,
      images: owner.length,
      marked: manifest.images.length,
      psnrMedian: Number(manifest.summary.psnrMedian),
      psnrMin: Number(manifest.summary.psnrMin),
      keyCommitment: published,
      secondsByStage: stages,
      seconds: Object.values(stages).reduce((sum, seconds) => sum + seconds, 0),
      results,
      verification: { passed, failed, notChecked },
    };
    await writeAtomic(join(out, 'demo.json'), encode(jsonDocument(result)));
    return result;
  } finally {
    marker.destroy();
  }
}

/** Directions the demo's carriers are drawn in. */
const DEMO_SUBSPACE = 32;
/** Side of the picture's images, in pixels. */
const PICTURE_CELL = 112;

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);

/** Marked images that are compared with their originals. */
const VERIFIED_SAMPLE = 1000;

const EVIDENCE = 'evidence';
const OWNER_KEY = 'owner.key';
const UNUSED_KEY = 'unused.key';

async function saveKey(path: string, key: Key): Promise<void> {
  await beginRegister(registerPath(path), await commitment(key), true);
  await writeAtomic(path, encode(serializeKey(key)), 0o600);
}

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
