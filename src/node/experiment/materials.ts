import { mkdir } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { type Dataset, subset } from '../../datasets/dataset.ts';
import { hashDataset } from '../../datasets/hash.ts';
import { Loader } from '../../datasets/loader.ts';
import type { Manifest } from '../../datasets/manifest.ts';
import { selectLargest, selectStratified } from '../../datasets/select.ts';
import { canonicalJson } from '../../formats/canonical.ts';
import { serializeNpy } from '../../formats/npy.ts';
import { hashBytes } from '../../formats/sha256.ts';
import type { Device } from '../../gpu/device.ts';
import { hardness } from '../../marking/hardness.ts';
import type { Key } from '../../marking/key.ts';
import { serializeKey } from '../../marking/key.ts';
import { amplify, type MarkingRecipe, markingRecipeFor } from '../../marking/recipe.ts';
import { classIrrelevantSubspace } from '../../marking/subspace.ts';
import type { VanillaImages } from '../../marking/vanilla.ts';
import { infer, type OnProgress } from '../../nn/inference.ts';
import { FASHION_MNIST_CLASSES } from '../datasets/fashion_mnist.ts';
import { openDataset } from '../datasets/open.ts';
import { openMarked } from '../evidence/marked.ts';
import { exists } from '../files/files.ts';
import { readNpyMatrix } from '../files/matrix.ts';
import { writeWithFolders } from '../files/write.ts';
import { checkVanilla } from '../runs/inputs.ts';
import { DEFAULT_DECOYS, DEFAULT_PROBES_PER_CLASS, probeRecipeOf } from '../runs/make_probes.ts';
import { markDataset } from '../runs/mark_dataset.ts';
import { type OpenedModel, openModel } from '../runs/open_model.ts';
import { writePatternNetwork } from '../runs/pattern_network.ts';
import type { ExperimentConfig, ExperimentSetting, ImagesOf } from './config.ts';
import { type Nested, nestedDataset } from './nested.ts';
import { experimentKey } from './public_key.ts';

/** A network file that is open, with the path it was asked for by. */
export interface OpenNetwork extends OpenedModel {
  readonly path: string;
}

/** How probes are marked, how many, towards how many decoys, and the folder they lie in. */
export interface ProbePlan {
  readonly recipe: MarkingRecipe;
  readonly decoys: number;
  readonly perClass: number;
  /** In the key's folder. */
  readonly name: string;
}

/** Which images features are of. */
export type Part = 'owner' | 'heldOut';

export interface MaterialsOptions {
  readonly device: Device;
  readonly config: ExperimentConfig;
  /** The configuration's file: paths in it begin at its folder. */
  readonly configPath: string;
  /** Folder that the configuration's data sets are in. */
  readonly data: string;
  readonly out: string;
  readonly signal?: AbortSignal | undefined;
}

/**
 * What the cells of an experiment share: data sets, the marking network, features that were computed once, keys and what they
 * marked. Everything that takes long lies in files below `out` and is read from there when it is there.
 */
export class Materials {
  readonly #options: MaterialsOptions;
  readonly owner: Loader;
  readonly heldOut: VanillaImages;
  readonly vanilla: VanillaImages | undefined;
  /** By part, of the listing of its data set. */
  readonly sha256: Readonly<Record<'owner' | 'heldOut' | 'vanilla', string | null>>;
  readonly marker: OpenNetwork;
  readonly recipe: MarkingRecipe;
  /** Share that is marked; smaller ones are taken from it. */
  readonly largestFraction: number;
  readonly #networks: Map<string, OpenNetwork>;
  readonly #features = new Map<string, Float32Array>();
  #hardness: Float64Array | undefined;
  readonly #keys = new Map<number, Key>();
  readonly #marked = new Map<number, { readonly marked: Dataset; readonly manifest: Manifest }>();

  private constructor(
    options: MaterialsOptions,
    loaders: { owner: Loader; heldOut: VanillaImages; vanilla: VanillaImages | undefined },
    sha256: Materials['sha256'],
    marker: OpenNetwork,
  ) {
    const { config } = options;
    this.#options = options;
    this.owner = loaders.owner;
    this.heldOut = loaders.heldOut;
    this.vanilla = loaders.vanilla;
    this.sha256 = sha256;
    this.marker = marker;
    this.#networks = new Map([[marker.path, marker]]);
    const { dimension: _, hardest: __, ...given } = config.marking;
    this.recipe = { ...markingRecipeFor(marker.model.config), ...given };
    this.largestFraction = Math.max(...config.settings.flatMap(({ fractions }) => fractions));
  }

  /** The probes of a setting; absent: those of all settings that have none of their own. */
  probesOf(setting?: Pick<ExperimentSetting, 'probes'>): ProbePlan {
    const common = this.#options.config.probes;
    const plan = (given: typeof common) => {
      const { decoys = DEFAULT_DECOYS, perClass = DEFAULT_PROBES_PER_CLASS, amplitude = 1, ...fields } = given;
      return { recipe: amplify({ ...probeRecipeOf(this.recipe), ...fields }, amplitude), decoys, perClass };
    };
    const [usual, own] = [plan(common), plan({ ...common, ...setting?.probes })];
    const [before, now] = [canonicalJson(usual), canonicalJson(own)];
    return {
      ...own,
      name: before === now ? 'probes' : `probes-${hashBytes(new TextEncoder().encode(now)).slice(0, 8)}`,
    };
  }

  /** Opens data sets and marking network. Throws InputError where one is missing or they do not go together. */
  static async open(options: MaterialsOptions): Promise<Materials> {
    const { config, data, device } = options;
    const classes = config.data.classes ?? (config.data.source === 'fashion-mnist' ? FASHION_MNIST_CLASSES : undefined);
    const open = ({ path, split, range }: ImagesOf, names: readonly string[] | undefined): Promise<Dataset> =>
      openDataset(`${path === undefined ? data : join(data, path)}${range ? `#${range.join(':')}` : ''}`, {
        ...(split && { split }),
        ...(names && { classes: names }),
      });
    const owner = await open(config.data.owner, classes);
    const heldOut = await open(config.data.heldOut, owner.classes);
    const vanilla = config.data.vanilla && (await open(config.data.vanilla, owner.classes));
    const path = await markerFile(options, owner);
    const opened = await openModel(device, path);
    try {
      const { channels } = opened.model.config;
      const loaders = {
        owner: await Loader.open(owner, channels),
        heldOut: await checkVanilla(heldOut),
        vanilla: vanilla && (await checkVanilla(vanilla)),
      };
      const sha256 = {
        owner: await hashDataset(owner),
        heldOut: await hashDataset(heldOut),
        vanilla: vanilla ? await hashDataset(vanilla) : null,
      };
      return new Materials(options, loaders, sha256, { ...opened, path });
    } catch (error) {
      opened.model.destroy();
      throw error;
    }
  }

  destroy(): void {
    for (const { model } of this.#networks.values()) model.destroy();
  }

  get classes(): readonly string[] {
    return this.owner.dataset.classes;
  }

  /** The network that a setting starts from. */
  async network(init: string): Promise<OpenNetwork> {
    const path = init === 'marker' ? this.marker.path : fromConfiguration(this.#options.configPath, init);
    const there = this.#networks.get(path);
    if (there) return there;
    const opened = { ...(await openModel(this.#options.device, path)), path };
    this.#networks.set(path, opened);
    return opened;
  }

  async #loader(part: Part): Promise<Loader> {
    return part === 'owner' ? this.owner : await this.heldOut.load(this.marker.model.config.channels);
  }

  featuresFile({ sha256 }: OpenNetwork, part: Part): string {
    return join(this.#options.out, 'features', `${sha256.slice(0, 8)}-${part === 'owner' ? 'owner' : 'held-out'}.npy`);
  }

  /** Features [N, d] of unmarked images. */
  async features(network: OpenNetwork, part: Part, onProgress?: OnProgress): Promise<Float32Array> {
    return await this.#computed(this.featuresFile(network, part), network, await this.#loader(part), onProgress);
  }

  get subspaceFile(): string {
    return join(this.#options.out, 'subspace.npy');
  }

  /** Basis [k, d] of the carriers' subspace; null where they are drawn in all of the feature space. */
  async basis(): Promise<Float64Array | null> {
    const { dimension } = this.#options.config.marking;
    if (dimension === null) return null;
    const file = this.subspaceFile;
    if (await exists(file)) return (await readNpyMatrix(file)).data as Float64Array;
    const { model } = this.marker;
    const basis = classIrrelevantSubspace({
      features: await this.features(this.marker, 'owner'),
      labels: this.owner.dataset.labels,
      classCount: this.classes.length,
      weight: await model.headWeight(),
      k: dimension,
    });
    await writeWithFolders(file, serializeNpy([dimension, model.featureDimension], basis));
    return basis;
  }

  keyFolder(index: number): string {
    return join(this.#options.out, 'keys', `key-${index}`);
  }

  async key(index: number): Promise<Key> {
    const there = this.#keys.get(index);
    if (there) return there;
    const { model, sha256 } = this.marker;
    const key = await experimentKey(index, {
      classes: this.classes,
      model: { sha256, architecture: model.config.architecture, featureDimension: model.featureDimension },
      basis: await this.basis(),
      centre: true,
      heldOut: { kind: 'content', count: this.heldOut.dataset.length, sha256: this.sha256.heldOut! },
    });
    const file = join(this.keyFolder(index), 'key.json');
    if (!(await exists(file))) await writeWithFolders(file, new TextEncoder().encode(serializeKey(key)));
    this.#keys.set(index, key);
    return key;
  }

  /** Folder of the data set of which the largest share is marked. */
  markedFolder(index: number): string {
    return join(this.keyFolder(index), `marked-${this.largestFraction}`);
  }

  async mark(index: number, onProgress: OnProgress): Promise<void> {
    const { signal } = this.#options;
    const key = await this.key(index);
    await markDataset({
      // Nothing of it is published, and shares are then contained in each other to the bit.
      copyUnmarked: true,
      key,
      model: this.marker.model,
      dataset: this.owner.dataset,
      fraction: this.largestFraction,
      hardest: await this.classifier(),
      recipe: this.recipe,
      out: this.markedFolder(index),
      onProgress,
      ...(signal && { signal }),
    });
  }

  /** What decides which images are marked; undefined: chance does. */
  async classifier() {
    const { hardest } = this.#options.config.marking;
    if (hardest === undefined) return undefined;
    const { model, sha256 } = await this.network(hardest);
    return { classifier: model, sha256 };
  }

  get hardnessFile(): string {
    return join(this.#options.out, 'hardness.npy');
  }

  /** How hard each of the owner's images is for the classifier, [N]. */
  async hardness(onProgress?: OnProgress): Promise<Float64Array> {
    if (this.#hardness) return this.#hardness;
    if (!(await exists(this.hardnessFile))) {
      const { classifier } = (await this.classifier())!;
      const { signal } = this.#options;
      const values = await hardness(classifier, this.owner.dataset, new Map(), { onProgress, signal });
      await writeWithFolders(this.hardnessFile, serializeNpy([values.length, 1], values));
    }
    this.#hardness = (await readNpyMatrix(this.hardnessFile)).data as Float64Array;
    return this.#hardness;
  }

  /** How many of the owner's images a share is. */
  count(fraction: number): number {
    const { labels, classes } = this.owner.dataset;
    return selectStratified(labels, classes.length, { fraction }, this.recipe.seed).selected.length;
  }

  /** Indices of the owner's images that a share has marked: the choice that `markDataset` makes. */
  async selected(fraction: number): Promise<Uint32Array> {
    const { labels, classes } = this.owner.dataset;
    return this.#options.config.marking.hardest === undefined
      ? selectStratified(labels, classes.length, { fraction }, this.recipe.seed).selected
      : selectLargest(labels, classes.length, { fraction }, await this.hardness()).selected;
  }

  /** The owner's data with a share marked by a key: what `markDataset` would give. */
  async marked(index: number, fraction: number): Promise<Nested> {
    const data = await this.#openMarked(index);
    // Without the place it lies in, which what is trained on it need not know.
    return nestedDataset(this.owner.dataset, data, await this.selected(fraction), `key-${index}/marked-${fraction}`);
  }

  markedFeaturesFile(index: number, { sha256 }: OpenNetwork): string {
    return join(this.keyFolder(index), `features-${sha256.slice(0, 8)}-${this.largestFraction}.npy`);
  }

  /** Features [N, d] of the same. Only the marked images' are new; they are computed for the largest share. */
  async markedFeatures(index: number, fraction: number, network: OpenNetwork, onProgress?: OnProgress) {
    const all = await this.marked(index, this.largestFraction);
    const positions = await this.selected(this.largestFraction);
    const fresh = await this.#computed(
      this.markedFeaturesFile(index, network),
      network,
      await Loader.open(subset(all.dataset, positions), network.model.config.channels),
      onProgress,
    );
    const d = network.model.featureDimension;
    const features = (await this.features(network, 'owner')).slice();
    const chosen = new Set(await this.selected(fraction));
    positions.forEach((position, row) => {
      if (chosen.has(position)) features.set(fresh.subarray(row * d, (row + 1) * d), position * d);
    });
    return features;
  }

  async #openMarked(index: number) {
    const there = this.#marked.get(index);
    if (there) return there;
    const folder = this.markedFolder(index);
    const { classes } = this.owner.dataset;
    const split = this.#options.config.data.owner.split;
    const opened = {
      marked: await openDataset(folder, { classes, ...(split && { split }) }),
      manifest: (await openMarked(folder)).manifest,
    };
    this.#marked.set(index, opened);
    return opened;
  }

  async #computed(file: string, network: OpenNetwork, loader: Loader, onProgress?: OnProgress): Promise<Float32Array> {
    const there = this.#features.get(file);
    if (there) return there;
    const { model } = network;
    let features: Float32Array;
    if (await exists(file)) features = (await readNpyMatrix(file)).data as Float32Array;
    else {
      features = (await infer(model, loader, { onProgress, signal: this.#options.signal })).features;
      await writeWithFolders(file, serializeNpy([loader.dataset.length, model.featureDimension], features));
    }
    this.#features.set(file, features);
    return features;
  }
}

/** The marking network's file; one of patterns is written below `out`. */
async function markerFile({ config, configPath, out }: MaterialsOptions, owner: Dataset): Promise<string> {
  if (typeof config.marker === 'string') return fromConfiguration(configPath, config.marker);
  const path = join(out, 'marker.safetensors');
  if (!(await exists(path))) {
    await mkdir(out, { recursive: true });
    await writePatternNetwork(path, owner, config.marker.patterns);
  }
  return path;
}

/** A path that a configuration names, from its own folder. */
export const fromConfiguration = (configPath: string, path: string): string => resolve(dirname(configPath), path);
