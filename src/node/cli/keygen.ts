import { DEFAULT_COMBINATION } from '../../detection/detect_blackbox.ts';
import { TEST_NAMES, TESTS } from '../../detection/tests.ts';
import { UsageError } from '../../errors.ts';
import { type Beacon, describeBeacon } from '../../marking/beacon.ts';
import { keyGuarantees } from '../../marking/guarantees.ts';
import type { Key } from '../../marking/key.ts';
import { BLACK_BOX_SUBSPACE_DIMENSION, DEFAULT_SUBSPACE_DIMENSION } from '../../marking/keygen.ts';
import { beaconOf, DEFAULT_BEACON_DELAY, type FixedBlackBox, type KeygenFiles, runKeygen } from '../runs/keygen.ts';
import { DEFAULT_DECOYS, DEFAULT_PROBES_PER_CLASS } from '../runs/make_probes.ts';
import { defineCommand, flagOf, type Values } from './command.ts';
import { decodeOptions, imageOptions, networkOptions, networkOverrides, splitOption } from './inputs.ts';
import { probeRecipe, probeRecipeOptions } from './recipe.ts';

/** What a key fixes of the black-box test, besides how probes are marked. */
export const fixedTestOptions = {
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
} as const;

/** What a key fixes of the black-box test. */
const fixedOptions = { ...fixedTestOptions, ...probeRecipeOptions } as const;

/** Where carriers are drawn. */
export const carrierOptions = {
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
} as const;

/** Which test is the evidence. */
export const statisticOption = {
  type: 'string',
  value: 'NAME',
  choices: TEST_NAMES,
  default: 'white-box',
  description: `the test that counts: ${Object.values(TESTS)
    .map(({ summary }) => summary)
    .join(', or ')}`,
} as const;

/** The images that suspects will be tested on. */
export const heldOutOptions = {
  heldOut: {
    type: 'string',
    value: 'DATASET',
    description: 'the images that suspects will be tested on: the key fixes them by their content',
  },
  heldOutSplit: { ...splitOption, default: 'test', description: 'likewise, of --held-out' },
} as const;

/** What a key waits for. */
export const beaconOptions = {
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
    ...carrierOptions,
    statistic: statisticOption,
    ...fixedOptions,
    vanilla: {
      type: 'string',
      value: 'DATASET',
      description: 'unmarked images to find the subspace on; default: the data set of --classes',
    },
    split: splitOption,
    ...heldOutOptions,
    ...beaconOptions,
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
    const { options } = context;
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
    const made = await runKeygen(
      {
        classes: options.classes,
        split: options.split,
        decode: decodeOptions(options),
        model: options.model,
        network: networkOverrides(options),
        carriers: options.carriers,
        dimension: options.dimension,
        vanilla: options.vanilla,
        blackBox: options.statistic === 'black-box' ? fixedBlackBox(options) : undefined,
        heldOut: heldOutOf(options),
        despite: options.despite === undefined ? [] : ['overlap'],
        beacon: beaconOption(options),
        output: options.output,
      },
      context,
    );
    const { key, commitment, register } = made;
    const { classes, carriers, model, statistic, heldOut } = key;
    return {
      json: {
        key: options.output,
        register,
        commitment,
        classes,
        carriers: { kind: carriers.kind, dimension: carriers.dimension },
        model,
        statistic,
        heldOut: heldOut ?? null,
        beacon: key.beacon ?? null,
        guarantees: keyGuarantees(key),
      },
      text: [
        `commitment ${commitment}`,
        `${classes.length} classes, carriers ${carriers.kind} in ${carriers.dimension} of ${model.featureDimension} dimensions`,
        describeStatistic(statistic),
        heldOut
          ? `to be tested on ${heldOut.kind === 'name' ? heldOut.name : `${heldOut.count} images, sha256 ${heldOut.sha256}`}`
          : 'to be tested on images that are left open',
        ...nextSteps(key, options.output),
        `Keep ${options.output} secret; publish the commitment before the data. ${register} will list every test: keep it with the key.`,
      ].join('\n'),
    };
  },
});

/** The beacon that the options ask for. */
export function beaconOption({ awaitBeacon, beaconDelay }: Values<typeof beaconOptions>): Beacon | null {
  if (beaconDelay !== undefined && awaitBeacon !== 'drand')
    throw new UsageError('--beacon-delay goes with --await-beacon drand');
  return beaconOf(awaitBeacon, beaconDelay);
}

/** What is still to do, and what a key without a beacon lacks. */
export function nextSteps({ beacon }: Key, file: string): string[] {
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

/** What the options fix of the black-box test. */
export function fixedBlackBox(options: Values<typeof fixedOptions>): FixedBlackBox {
  const { decoys, perClass, combine, labelOnly } = options;
  return {
    decoys,
    perClass,
    combine,
    labelOnly,
    references: options.reference?.split(','),
    recipe: probeRecipe(options),
  };
}

function describeStatistic(statistic: Key['statistic']): string {
  if (statistic.kind === 'white-box') return 'the test that counts: white-box';
  const { decoys, perClass, references } = statistic;
  const models = references === null ? 'left open' : `${references.length} fixed`;
  return `the test that counts: black-box, ${decoys} decoys, ${perClass} probe images a class, reference models ${models}`;
}

function heldOutOf(options: {
  readonly heldOut: string | undefined;
  readonly heldOutSplit: 'train' | 'test';
  readonly heldOutName: string | undefined;
}): KeygenFiles['heldOut'] {
  const { heldOut: path, heldOutSplit: split, heldOutName: name } = options;
  if (path !== undefined) return { path, split };
  return name === undefined ? undefined : { name };
}
