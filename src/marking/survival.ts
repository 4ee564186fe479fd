/** How much of a mark is left after what may happen to published images. */

import { toChannels } from '../datasets/loader.ts';
import { InputError } from '../errors.ts';
import type { ImageCodec } from '../images/codec.ts';
import type { Image8 } from '../images/image.ts';
import { psnr } from '../images/metrics.ts';
import { cutRegion } from '../images/region.ts';
import { TREATMENTS, type Treatment } from '../images/treatments.ts';
import { defaultBatchSize, evaluationCrop, FeatureExtractor, fitBatch, type OnProgress } from '../nn/inference.ts';
import type { Model } from '../nn/model.ts';
import { type Key, keyCarriers } from './key.ts';

/** A marked image and what it was made from. */
export interface MarkedPair {
  /** Names it in messages. */
  readonly id: string;
  /** Index of its class in the key. */
  readonly label: number;
  readonly original: Image8;
  readonly marked: Image8;
}

/** What {@link measureSurvival} measures. */
export interface SurvivalOptions {
  /** Whose carriers the images were marked towards. */
  readonly key: Key;
  /** The key's marking network. */
  readonly model: Model;
  /** How many pairs there are. */
  readonly count: number;
  /** One of them, asked for in order. */
  readonly pair: (index: number) => Promise<MarkedPair>;
  readonly codec: ImageCodec;
  /** What is done to both images of a pair, each by itself. Default {@link TREATMENTS}. */
  readonly treatments?: readonly Treatment[] | undefined;
  readonly onProgress?: OnProgress | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What one treatment leaves. */
export interface Survival {
  readonly treatment: string;
  /** Images that it changed; others, such as those that are no larger than a size, are not counted in what follows. */
  readonly images: number;
  /** Mean change of features along the carrier, of these images as they are published and after it; null without any. */
  readonly gainBefore: number | null;
  readonly gainAfter: number | null;
  /** The second gain over the first. */
  readonly left: number | null;
  /** Of the share that is left of each image's own gain: the tenth, the median and nine tenths, of those marked towards their carrier. */
  readonly leftOfImages: readonly [tenth: number, median: number, nineTenths: number] | null;
}

/** What is left of a data set's marks. */
export interface SurvivalReport {
  /** Pairs measured. */
  readonly images: number;
  /** Mean gain of the published images. */
  readonly gain: number;
  /** dB, of the mean squared change of all of them; null where nothing changed. */
  readonly psnr: number | null;
  readonly treatments: readonly Survival[];
}

/**
 * Measures, with the marking network, how much the features of marked images move along their carriers after each treatment, beside what
 * they move as published: φ(T(marked)) − φ(T(original)), both treated alike. It says what a trainer who treats all images so would
 * learn from, not what a network that was trained otherwise makes of it.
 *
 * @throws InputError without any pair, or where features are not finite.
 */
export async function measureSurvival(options: SurvivalOptions): Promise<SurvivalReport> {
  const { key, model, count, codec, treatments = TREATMENTS, signal } = options;
  const { config, featureDimension: d } = model;
  if (count === 0)
    throw new InputError('there is no marked image to measure; give a marked data set with its originals');
  const { directions } = await keyCarriers(key);
  const gains: number[] = [];
  const after = treatments.map(() => [] as { readonly before: number; readonly after: number }[]);
  let squares = 0;
  let levels = 0;
  let extractor: FeatureExtractor | undefined;
  let capacity = 0;
  try {
    for (let index = 0; index < count; index++) {
      signal?.throwIfAborted();
      const { id, label, original, marked } = await options.pair(index);
      const seen: Image8[] = [original, marked];
      const changing: number[] = [];
      for (const [t, { apply }] of treatments.entries()) {
        const treated = await apply(original, codec, id);
        if (treated === original) continue;
        changing.push(t);
        seen.push(treated, await apply(marked, codec, id));
      }
      const pixels = Math.max(...seen.map(({ width, height }) => width * height));
      if (!extractor || pixels > capacity) {
        extractor?.destroy();
        extractor = undefined;
        capacity = pixels;
        const build = (size: number) => FeatureExtractor.create(model, pixels, size);
        ({ built: extractor } = await fitBatch(Math.min(2 * (treatments.length + 1), defaultBatchSize(config)), build));
      }
      const carrier = directions.subarray(label * d, (label + 1) * d);
      const along: number[] = [];
      for (let from = 0; from < seen.length; from += extractor.batchSize) {
        const regions = seen
          .slice(from, from + extractor.batchSize)
          .map((image) =>
            cutRegion(toChannels(image, config.channels, id), evaluationCrop(image, config), config.inputSize),
          );
        const { features } = await extractor.run(regions);
        for (let row = 0; row < regions.length; row++)
          along.push(carrier.reduce((sum, u, i) => sum + u * features[row * d + i], 0));
      }
      if (!along.every(Number.isFinite))
        throw new InputError(`${id}: the marking network's features are not finite; give the network of the key`);
      const before = along[1] - along[0];
      gains.push(before);
      changing.forEach((t, i) => {
        after[t].push({ before, after: along[2 * i + 3] - along[2 * i + 2] });
      });
      squares += original.data.length * 10 ** (-psnr(original, marked) / 10);
      levels += original.data.length;
      options.onProgress?.(index + 1, count);
    }
  } finally {
    extractor?.destroy();
  }
  return {
    images: count,
    gain: mean(gains),
    psnr: squares > 0 ? -10 * Math.log10(squares / levels) : null,
    treatments: treatments.map(({ name }, t) => summarise(name, after[t])),
  };
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

function summarise(treatment: string, pairs: readonly { readonly before: number; readonly after: number }[]): Survival {
  if (pairs.length === 0)
    return { treatment, images: 0, gainBefore: null, gainAfter: null, left: null, leftOfImages: null };
  const [gainBefore, gainAfter] = [mean(pairs.map(({ before }) => before)), mean(pairs.map(({ after }) => after))];
  const shares = pairs.flatMap(({ before, after }) => (before > 0 ? [after / before] : [])).sort((a, b) => a - b);
  const at = (share: number): number => shares[Math.round(share * (shares.length - 1))];
  return {
    treatment,
    images: pairs.length,
    gainBefore,
    gainAfter,
    left: gainBefore > 0 ? gainAfter / gainBefore : null,
    leftOfImages: shares.length > 0 ? [at(0.1), at(0.5), at(0.9)] : null,
  };
}
