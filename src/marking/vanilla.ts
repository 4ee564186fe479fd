/** Images that suspects are tested on: the guard that none of them was ever marked. */

import type { Dataset } from '../datasets/dataset.ts';
import { Loader } from '../datasets/loader.ts';
import type { Manifest } from '../datasets/manifest.ts';
import { InputError } from '../errors.ts';
import { CHECKED, Guarded } from '../guarded.ts';
import { type InferenceOptions, infer } from '../nn/inference.ts';
import type { Model } from '../nn/model.ts';

/** What a network says of images: features [n, d] and logits [n, K]. */
export type Inference = Awaited<ReturnType<typeof infer>>;

/** A manifest with where it is, for messages. */
export interface NamedManifest {
  readonly path: string;
  readonly manifest: Manifest;
}

/**
 * Images that no given manifest lists as marked. Aligned on marked images an innocent suspect looks guilty: the white-box test takes
 * nothing else, and only {@link VanillaImages.check} makes one.
 */
export class VanillaImages extends Guarded {
  readonly dataset: Dataset;
  /** The manifests they were compared with. None: whoever opened them says that they were never marked. */
  readonly manifests: readonly NamedManifest[];
  readonly #loaders = new Map<number, Promise<Loader>>();
  readonly #inferences = new WeakMap<Model, Inference>();

  private constructor(checked: typeof CHECKED, dataset: Dataset, manifests: readonly NamedManifest[]) {
    super(checked);
    this.dataset = dataset;
    this.manifests = Object.freeze([...manifests]);
    Object.freeze(this);
  }

  /**
   * @param manifests of the data sets that were marked and that the images may be of; in Node `checkVanilla` finds the one beside them.
   * @throws InputError naming the first image that a manifest lists.
   */
  static check(dataset: Dataset, manifests: readonly NamedManifest[]): VanillaImages {
    for (const { path, manifest } of manifests) {
      const marked = new Set(manifest.images.map(({ id }) => id));
      let count = 0;
      let first: string | undefined;
      for (let index = 0; index < dataset.length; index++) {
        const id = dataset.id(index);
        if (!marked.has(id)) continue;
        count++;
        first ??= id;
      }
      if (count > 0)
        throw new InputError(
          `${dataset.path}: ${count} of its images are marked, says ${path}, the first is ${first}; give images that never were`,
        );
    }
    return new VanillaImages(CHECKED, dataset, manifests);
  }

  /** The images with so many channels, read once. */
  load(channels: number, onProgress?: (done: number) => void): Promise<Loader> {
    const there = this.#loaders.get(channels);
    if (there) return there;
    const loader = Loader.open(this.dataset, channels, onProgress);
    this.#loaders.set(channels, loader);
    return loader;
  }

  /** Features [n, d] and logits [n, K] that a model gives them, computed once. */
  async infer(model: Model, options: InferenceOptions = {}): Promise<Inference> {
    const there = this.#inferences.get(model);
    if (there) return there;
    const inference = await infer(model, await this.load(model.config.channels), options);
    this.#inferences.set(model, inference);
    return inference;
  }
}
