import type { Dataset } from '../../datasets/dataset.ts';
import type { Manifest, ManifestImage } from '../../datasets/manifest.ts';
import { IntegrityError } from '../../errors.ts';

/** A data set of which fewer images are marked. */
export interface Nested {
  readonly dataset: Dataset;
  /** Those that are marked. */
  readonly images: readonly ManifestImage[];
}

/**
 * The data set that marking a smaller share would have given, put together from the marked data set of a larger one. The same bits:
 * what a smaller share selects a larger one selects too, and a mark depends on image, id, carrier, recipe and networks alone.
 *
 * @param original the unmarked data set.
 * @param marked what `markDataset` made of it, with its manifest.
 * @param selected indices of the images that the smaller share selects.
 * @throws IntegrityError if the larger share does not have one of them.
 */
export function nestedDataset(
  original: Dataset,
  { marked, manifest }: { readonly marked: Dataset; readonly manifest: Manifest },
  selected: ArrayLike<number>,
  path: string,
): Nested {
  const entries = new Map(manifest.images.map((image) => [image.source ?? image.id, image]));
  const positions = new Map(Array.from({ length: marked.length }, (_, position) => [marked.id(position), position]));
  const images: ManifestImage[] = [];
  /** Where a marked image is in the marked data set, by its index. */
  const from = new Map<number, number>();
  for (const index of Array.from(selected)) {
    const image = entries.get(original.id(index));
    const position = image && positions.get(image.id);
    if (position === undefined)
      throw new IntegrityError(
        `${marked.path}: ${original.id(index)} is not marked, but a smaller share has it marked`,
      );
    images.push(image!);
    from.set(index, position);
  }
  const pick = <T>(index: number, take: (dataset: Dataset, index: number) => T): T => {
    const position = from.get(index);
    return position === undefined ? take(original, index) : take(marked, position);
  };
  return {
    images,
    dataset: {
      ...original,
      path,
      root: marked.root,
      id: (index) =>
        original.format?.pairedBy === 'position'
          ? marked.id(index)
          : pick(index, (dataset, position) => dataset.id(position)),
      shape: (index) => pick(index, (dataset, position) => dataset.shape(position)),
      image: (index) => pick(index, (dataset, position) => dataset.image(position)),
      bytes: (index) => pick(index, (dataset, position) => dataset.bytes(position)),
    },
  };
}
