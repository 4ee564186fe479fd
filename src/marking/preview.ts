import type { Dataset } from '../datasets/dataset.ts';
import { checkChannels, toChannels } from '../datasets/loader.ts';
import { selectStratified } from '../datasets/select.ts';
import { InputError } from '../errors.ts';
import type { ImageCodec } from '../images/codec.ts';
import { decodeImage } from '../images/decode.ts';
import { codingLike, encodeLike } from '../images/encoding.ts';
import type { Image8 } from '../images/image.ts';
import { psnr, ssim } from '../images/metrics.ts';
import { difference, type PictureRow, pictureOf } from '../images/picture.ts';
import { cutMiddle, cutRegion } from '../images/region.ts';
import { evaluationCrop, FeatureExtractor, type OnProgress } from '../nn/inference.ts';
import type { Model } from '../nn/model.ts';
import { type Key, keyCarriers } from './key.ts';
import { Marker } from './marker.ts';
import type { MarkingRecipe } from './recipe.ts';

/** Which images {@link previewMarks} marks, and with which radii. */
export interface PreviewOptions {
  /** Whose carriers the images are marked towards. */
  readonly key: Key;
  /** The key's marking network. */
  readonly model: Model;
  /** Opened with `keepFaults`, damaged images are passed over. */
  readonly dataset: Dataset;
  /** Encodes what is shown, and what will be saved. */
  readonly codec: ImageCodec;
  /** Each of them is tried on every image. */
  readonly radii: readonly number[];
  /** How many images, of all classes in turn. */
  readonly count: number;
  /** What else decides the marks; its radius does not count. */
  readonly recipe: MarkingRecipe;
  /** How images will be saved: all as PNG files, or default each like its own file. */
  readonly format?: 'PNG' | undefined;
  readonly onProgress?: OnProgress;
  readonly signal?: AbortSignal;
}

/** What a radius does to an image. */
export interface PreviewedMark {
  /** Of the image, see `Dataset.id`. */
  readonly id: string;
  /** The radius it is marked with, in 8-bit levels. */
  readonly radiusLevels: number;
  /** In dB, as it will be saved; infinite where the mark changes nothing. */
  readonly psnr: number;
  /** Structural similarity with the original. */
  readonly ssim: number;
  /** Change of the features along the carrier. */
  readonly gain: number;
}

/** Longest side of what is shown of an image, in pixels: marks are seen pixel for pixel, or not at all. */
const SHOWN = 320;
/** Images of a class looked at beyond those that are shown, in case some are damaged. */
const SPARE = 3;

/**
 * Marks a few images of a data set with several radii, before a long run. Returns the figures, and an SVG that shows the middle of
 * each image pixel for pixel: the original, and for every radius the marked image and what changed, ten times as strong.
 * Throws InputError where there is no image that can be marked; DeviceError where the device fails.
 */
export async function previewMarks(options: PreviewOptions): Promise<{ marks: PreviewedMark[]; svg: string }> {
  const { key, model, dataset, codec, radii, recipe, signal } = options;
  const { directions, featureDimension: d } = await keyCarriers(key);
  const { config } = model;
  const chosen = await choosePreviewed(options);
  if (chosen.length === 0) throw new InputError(`${dataset.path}: no image of it can be marked; give another data set`);
  const marks: PreviewedMark[] = [];
  const rows: PictureRow[] = [];
  const total = chosen.length * radii.length;
  options.onProgress?.(0, total);
  for (const { index, image } of chosen) {
    const id = dataset.id(index);
    const carrier = directions.subarray(dataset.labels[index] * d, (dataset.labels[index] + 1) * d);
    const pixels = image.width * image.height;
    const extractor = await FeatureExtractor.create(model, pixels, 1);
    try {
      const along = async (seen: Image8): Promise<number> => {
        const region = cutRegion(toChannels(seen, config.channels, id), evaluationCrop(seen, config), config.inputSize);
        const { features } = await extractor.run([region]);
        return carrier.reduce((sum, u, i) => sum + features[i] * u, 0);
      };
      const before = await along(image);
      const coding =
        dataset.format?.stores === 'files'
          ? codingLike(await dataset.bytes(index), id, { format: options.format })
          : undefined;
      const cells: PictureRow['cells'][number][] = [
        { image: cutMiddle(image, SHOWN), caption: `${image.width}×${image.height}` },
      ];
      for (const radiusLevels of radii) {
        const marker = await Marker.create(
          model,
          pixels,
          1,
          { ...recipe, radiusLevels },
          { coded: coding !== undefined },
        );
        let marked: Image8;
        try {
          [marked] = await marker.mark([{ id, image, direction: Float32Array.from(carrier), coding }], { signal });
        } finally {
          marker.destroy();
        }
        if (Number.isFinite(psnr(image, marked))) marked = await asSaved(options, index, marked);
        const mark = {
          id,
          radiusLevels,
          psnr: psnr(image, marked),
          ssim: ssim(image, marked),
          gain: (await along(marked)) - before,
        };
        marks.push(mark);
        const caption = Number.isFinite(mark.psnr)
          ? `${mark.psnr.toFixed(1)} dB, SSIM ${mark.ssim.toFixed(4)}, gain ${mark.gain.toFixed(2)}`
          : 'unchanged';
        const shown = cutMiddle(marked, SHOWN);
        cells.push({ image: shown, caption }, { image: difference(cutMiddle(image, SHOWN), shown) });
        options.onProgress?.(marks.length, total);
      }
      rows.push({ label: [dataset.classes[dataset.labels[index]], id.slice(id.lastIndexOf('/') + 1)], cells });
    } finally {
      extractor.destroy();
    }
  }
  const columns = ['original', ...radii.flatMap((radius) => [`radius ${radius}`, 'difference ×10'])];
  const largest = Math.max(...rows.map(({ cells: [{ image }] }) => Math.max(image.width, image.height)));
  return { marks, svg: await pictureOf(columns, rows, Math.max(112, largest), codec) };
}

/** An image as it is read back from the file that `mark` writes. */
async function asSaved({ dataset, codec, format }: PreviewOptions, index: number, image: Image8): Promise<Image8> {
  if (dataset.format?.stores !== 'files') return image;
  const id = dataset.id(index);
  const { bytes } = await encodeLike(codec, image, await dataset.bytes(index), id, { format });
  return decodeImage(codec, bytes, id, { maxPixels: Number.POSITIVE_INFINITY });
}

/** Images that the seed chooses, the classes in turn; damaged ones are passed over. They need not be those that a run marks. */
async function choosePreviewed({
  dataset,
  model,
  count,
  recipe,
}: PreviewOptions): Promise<{ index: number; image: Image8 }[]> {
  const sizes = new Array<number>(dataset.classes.length).fill(0);
  for (const label of dataset.labels) sizes[label]++;
  const perClass = Math.min(...sizes.filter((size) => size > 0), Math.ceil(count / sizes.length) + SPARE);
  const members = sizes.map((size, label) => {
    if (size === 0) return [];
    const { selected } = selectStratified(dataset.labels, sizes.length, { perClass }, recipe.seed);
    return [...selected].filter((index) => dataset.labels[index] === label);
  });
  const inTurn = Array.from({ length: perClass }, (_, place) =>
    members.flatMap((indices) => indices.slice(place, place + 1)),
  );
  const chosen: { index: number; image: Image8 }[] = [];
  for (const index of inTurn.flat()) {
    if (chosen.length === count) break;
    if (dataset.faults?.has(index)) continue;
    try {
      const image = await dataset.image(index);
      checkChannels(image.channels, model.config.channels, dataset.id(index));
      chosen.push({ index, image });
    } catch (error) {
      if (!dataset.faults || !(error instanceof InputError)) throw error;
    }
  }
  return chosen;
}
