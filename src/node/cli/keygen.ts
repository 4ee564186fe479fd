import type { Dataset } from '../../datasets/dataset.ts';
import { hashDataset } from '../../datasets/hash.ts';
import { overlapFault } from '../../datasets/overlap.ts';
import { DEFAULT_COMBINATION } from '../../detection/detect_blackbox.ts';
import { TEST_NAMES, TESTS } from '../../detection/tests.ts';
import { InputError, UsageError } from '../../errors.ts';
import { type Beacon, describeBeacon, drandRoundAt, QUICKNET } from '../../marking/beacon.ts';
import { keyGuarantees } from '../../marking/guarantees.ts';
import type { BlackBoxStatistic, HeldOutImages, Key } from '../../marking/key.ts';
import {
  BLACK_BOX_SUBSPACE_DIMENSION,
  carrierSpace,
  DEFAULT_SUBSPACE_DIMENSION,
  keygen as makeKey,
} from '../../marking/keygen.ts';
import type { NetworkConfig } from '../../nn/networks.ts';
import { openDataset } from '../datasets/open.ts';
import { registerPath } from '../evidence/register.ts';
import { requireNewFile } from '../files/files.ts';
import { hashFile } from '../files/write.ts';
import type { RunContext } from '../runs/context.ts';
import { checkVanilla, loadHeldOut, openNetwork, readClasses, saveKey } from '../runs/inputs.ts';
import { DEFAULT_DECOYS, DEFAULT_PROBES_PER_CLASS, probeRecipeFor } from '../runs/make_probes.ts';
import { shownOverlap } from '../runs/overlap.ts';
import { defineCommand, flagOf, type Values } from './command.ts';
import { decodeOptions, imageOptions, networkOptions, networkOverrides, splitOption } from './inputs.ts';
import { probeRecipe, probeRecipeOptions } from './recipe.ts';

/** Minutes to have the commitment stamped in before the beacon's round. */
const DEFAULT_BEACON_DELAY = 60;

/** So many images to test on are compared with those to publish: enough to see that they are others. */
const COMPARED = 1000;

/** What a key fixes of the black-box test. */
const fixedOptions = {
  decoys: {
    type: 'integer',
    value: 'M',
    minimum: 1,
    maximum: 100_000,
    description: `with --statistic black-box: carrier sets that the true one is compared with; default ${DEFAULT_DECOYS}`,
  },
  perClass: {
    type: 'integer',
    value: 'N',
    minimum: 1,
    description: `likewise: probe images of each class; default ${DEFAULT_PROBES_PER_CLASS}`,
  },
  combine: {
    type: 'string',
    value: 'NAME',
    choices: ['sum', 'fisher'],
    description: `likewise: classes are combined by the sum of their responses, or by Fisher's method from their ranks; default ${DEFAULT_COMBINATION}`,
  },
  reference: {
    type: 'string',
    value: 'MODEL,…',
    description: 'likewise: the reference models that will be used; left open where absent',
  },
  labelOnly: {
    type: 'flag',
    description: 'likewise: suspects will be asked for the predicted class alone, not for scores',
  },
  ...probeRecipeOptions,
} as const;

export const keygen = defineCommand({
  name: 'keygen',
  summary: 'Draws a secret key for a marking network and prints the commitment to publish, never the key',
  options: {
    classes: {
      type: 'string',
      value: 'FILE|DATASET',
      required: true,
      description: 'class names: a .txt file with one a line, or a data set',
    },
    model: { type: 'string', value: 'MARKER', required: true, description: 'the marking network' },
    output: {
      type: 'string',
      short: 'o',
      value: 'KEY',
      required: true,
      description: 'the key file to write, readable by you alone',
    },
    carriers: {
      type: 'string',
      value: 'KIND',
      choices: ['subspace', 'uniform'],
      description:
        'where carriers are drawn: in the directions that classes do not use, or everywhere (as published); default subspace, with half as many classes as features or more uniform',
    },
    dimension: {
      type: 'integer',
      value: 'K',
      minimum: 2,
      maximum: 65536,
      description: `directions of the subspace; default ${DEFAULT_SUBSPACE_DIMENSION}, for the black-box test ${BLACK_BOX_SUBSPACE_DIMENSION}`,
    },
    statistic: {
      type: 'string',
      value: 'NAME',
      choices: TEST_NAMES,
      default: 'white-box',
      description: `the test that counts: ${Object.values(TESTS)
        .map(({ summary }) => summary)
        .join(', or ')}`,
    },
    ...fixedOptions,
    vanilla: {
      type: 'string',
      value: 'DATASET',
      description: 'unmarked images to find the subspace on; default: the data set of --classes',
    },
    split: splitOption,
    heldOut: {
      type: 'string',
      value: 'DATASET',
      description: 'the images that suspects will be tested on: the key fixes them by their content',
    },
    heldOutSplit: { ...splitOption, default: 'test', description: 'likewise, of --held-out' },
    awaitBeacon: {
      type: 'string',
      value: 'KIND',
      choices: ['drand', 'time-stamp'],
      description:
        "public randomness to be mixed in later, so that nobody can say that you drew keys until one suited: a coming round of drand's quicknet, or the time stamp of this key's commitment; the key marks nothing before `complete`. Default: none, the key is ready at once",
    },
    beaconDelay: {
      type: 'integer',
      value: 'MINUTES',
      minimum: 1,
      maximum: 525_600,
      description: `with --await-beacon drand: the round comes so much later, which leaves time to publish the commitment; default ${DEFAULT_BEACON_DELAY}`,
    },
    despite: {
      type: 'string',
      value: 'overlap',
      choices: ['overlap'],
      description: 'take images of --held-out that show the same as those of --classes',
    },
    heldOutName: {
      type: 'string',
      value: 'TEXT',
      description: 'instead of --held-out, where these images are not there yet: what they will be, in words',
    },
    ...imageOptions,
    ...networkOptions,
  },
  examples: [
    '--classes data --model weights/marker.safetensors --held-out held-out -o owner.key',
    '--classes classes.txt --vanilla photos --model resnet18.safetensors -o owner.key',
    '--classes data --model weights/marker.safetensors --statistic black-box --held-out held-out -o owner.key',
  ],
  async run(context) {
    const { options, progress, log, signal } = context;
    await requireNewFile(options.output);
    const register = registerPath(options.output);
    await requireNewFile(register);
    if (options.heldOut !== undefined && options.heldOutName !== undefined)
      throw new UsageError('--held-out and --held-out-name say the same; give one');
    if (options.carriers === 'uniform' && options.dimension !== undefined)
      throw new UsageError('--dimension goes with --carriers subspace');
    const stray = Object.keys(fixedOptions).find((name) => {
      const value = options[name as keyof typeof fixedOptions];
      return value !== undefined && value !== false;
    });
    if (options.statistic === 'white-box' && stray !== undefined)
      throw new UsageError(`${flagOf(stray)} goes with --statistic black-box`);
    if (options.beaconDelay !== undefined && options.awaitBeacon !== 'drand')
      throw new UsageError('--beacon-delay goes with --await-beacon drand');
    const { classes, dataset } = await readClasses(options.classes, options.split, decodeOptions(options));
    const vanilla =
      options.vanilla === undefined
        ? dataset
        : await openDataset(options.vanilla, { split: options.split, classes, decode: decodeOptions(options) });
    const heldOut = await fixHeldOut(options, classes, dataset, context);
    if (!heldOut)
      log(
        'the images to test on are left open; fix them with --held-out, so that nobody can say they were chosen later',
      );
    const overrides = networkOverrides(options);
    const { model, sha256 } = await openNetwork(context, options.model, overrides);
    try {
      const { carriers, dimension, statistic } = options;
      const blackBox = statistic === 'black-box' ? await fixBlackBox(options, model.config) : undefined;
      const directions = carrierSpace(classes.length, model.featureDimension, { carriers, dimension, blackBox });
      if (directions !== null && !vanilla)
        throw new UsageError(
          'carriers in a subspace need unmarked images: give --vanilla DATASET, or --carriers uniform',
        );
      const images = directions === null ? undefined : await checkVanilla(vanilla!);
      if (images) await loadHeldOut(images, model.config.channels, progress);
      const display = images && progress('features', images.dataset.length, 'images');
      const key = await makeKey({
        classes,
        model,
        modelSha256: sha256,
        network: overrides,
        carriers,
        dimension,
        vanilla: images,
        ...(blackBox && { blackBox }),
        heldOut,
        beacon: beaconOf(options),
        onProgress: (done) => display?.update(done),
        signal,
      });
      display?.done();
      const published = await saveKey(options.output, key);
      return {
        json: {
          key: options.output,
          register,
          commitment: published,
          classes,
          carriers: { kind: key.carriers.kind, dimension: key.carriers.dimension },
          model: key.model,
          statistic: key.statistic,
          heldOut,
          beacon: key.beacon ?? null,
          guarantees: keyGuarantees(key),
        },
        text: [
          `commitment ${published}`,
          `${classes.length} classes, carriers ${key.carriers.kind} in ${key.carriers.dimension} of ${model.featureDimension} dimensions`,
          describeStatistic(key.statistic),
          heldOut
            ? `to be tested on ${heldOut.kind === 'name' ? heldOut.name : `${heldOut.count} images, sha256 ${heldOut.sha256}`}`
            : 'to be tested on images that are left open',
          ...nextSteps(key, options.output),
          `Keep ${options.output} secret; publish the commitment before the data. ${register} will list every test: keep it with the key.`,
        ].join('\n'),
      };
    } finally {
      model.destroy();
    }
  },
});

function beaconOf(options: {
  readonly awaitBeacon?: 'drand' | 'time-stamp' | undefined;
  readonly beaconDelay?: number | undefined;
}): Beacon | null {
  if (options.awaitBeacon === undefined) return null;
  if (options.awaitBeacon === 'time-stamp') return { kind: 'time-stamp' };
  const minutes = options.beaconDelay ?? DEFAULT_BEACON_DELAY;
  return { kind: 'drand', chain: QUICKNET.chain, round: drandRoundAt(new Date(Date.now() + 60_000 * minutes)) };
}

/** What is still to do, and what a key without a beacon lacks. */
function nextSteps({ beacon }: Key, file: string): string[] {
  if (!beacon)
    return [
      'no beacon: the key is ready, and nobody can tell that you did not draw keys until one suited; --await-beacon rules that out',
    ];
  const stamp = `radioactive commit --key ${file} -o ${file.replace(/\.key$/, '')}.tsq`;
  if (beacon.kind === 'time-stamp')
    return [
      'The key has no carriers before its commitment is stamped:',
      `  ${stamp}, which says how, then`,
      `  radioactive complete --key ${file} --beacon REPLY.tsr --ca CERTIFICATES-OF-THE-AUTHORITY.pem`,
    ];
  const { round, chain } = beacon;
  return [
    `The key has no carriers before ${describeBeacon(beacon)}. Have its commitment stamped, or publish it, before that time:`,
    `  ${stamp}`,
    'and afterwards:',
    `  curl https://api.drand.sh/${chain}/public/${round} -o round.json`,
    `  radioactive complete --key ${file} --beacon round.json`,
  ];
}

async function fixBlackBox(
  options: Values<typeof fixedOptions>,
  config: NetworkConfig,
): Promise<Omit<BlackBoxStatistic, 'kind'>> {
  const references =
    options.reference === undefined ? null : await Promise.all(options.reference.split(',').map(hashFile));
  return {
    combine: options.combine ?? DEFAULT_COMBINATION,
    decoys: options.decoys ?? DEFAULT_DECOYS,
    perClass: options.perClass ?? DEFAULT_PROBES_PER_CLASS,
    recipe: probeRecipe(options, probeRecipeFor(config)),
    references,
    scores: options.labelOnly ? 'labels' : 'scores',
  };
}

function describeStatistic(statistic: Key['statistic']): string {
  if (statistic.kind === 'white-box') return 'the test that counts: white-box';
  const { decoys, perClass, references } = statistic;
  const models = references === null ? 'left open' : `${references.length} fixed`;
  return `the test that counts: black-box, ${decoys} decoys, ${perClass} probe images a class, reference models ${models}`;
}

async function fixHeldOut(
  options: {
    readonly heldOut: string | undefined;
    readonly heldOutSplit: 'train' | 'test';
    readonly heldOutName: string | undefined;
    readonly maxPixels: number;
    readonly accept: string | undefined;
    readonly despite: string | undefined;
  },
  classes: readonly string[],
  published: Dataset | undefined,
  context: Pick<RunContext, 'progress' | 'log' | 'signal'>,
): Promise<HeldOutImages | null> {
  const { heldOut: path, heldOutSplit: split, heldOutName: name } = options;
  if (path === undefined) return name === undefined ? null : { kind: 'name', name };
  const dataset = await openDataset(path, { split, classes, decode: decodeOptions(options) });
  if (published) {
    const overlap = await shownOverlap(dataset, [{ kind: 'original', dataset: published }], {
      ...context,
      most: COMPARED,
    });
    const { images, alike, examples } = overlap;
    const share = `${alike} of ${images} images show the same as images of ${published.path}`;
    if (overlapFault(overlap) !== undefined && options.despite === undefined)
      throw new InputError(
        `${path}: ${share}, like ${examples[0].id} and ${examples[0].of}; give images that are not published, or --despite overlap, which verify will tell`,
      );
    context.log(`${path}: ${share}`);
  }
  return { kind: 'content', count: dataset.length, sha256: await hashDataset(dataset) };
}
