import { describeBeacon } from '../../marking/beacon.ts';
import { keyGuarantees } from '../../marking/guarantees.ts';
import { DEFAULT_GOAL, MOST_MARKED } from '../protection/outlook.ts';
import type { ProtectionPlan } from '../protection/plan.ts';
import { type ProtectionReport, runProtection } from '../protection/protect.ts';
import { columns, defineCommand, precisionOption } from './command.ts';
import {
  decodeOptions,
  imageOptions,
  networkOptions,
  networkOverrides,
  publishedOptions,
  referenceOptions,
  referenceTraining,
  splitOption,
} from './inputs.ts';
import {
  beaconOption,
  beaconOptions,
  carrierOptions,
  fixedTestOptions,
  heldOutOptions,
  statisticOption,
} from './keygen.ts';
import { hardestOption } from './mark.ts';
import { describeMarks } from './output.ts';
import { markingRecipe, radiusOption, recipeOptions } from './recipe.ts';

/** Classes that are shown one by one. */
const SHOWN = 12;

export const protect = defineCommand({
  name: 'protect',
  summary:
    'Does all that an owner of images does before publishing them: holds images back for the test, makes a key, and marks; goes on where it was stopped',
  options: {
    data: {
      type: 'string',
      value: 'DIR',
      required: true,
      positional: true,
      description: 'your images: a folder of class folders, or IDX files',
    },
    output: {
      type: 'string',
      short: 'o',
      value: 'OUT',
      required: true,
      description: 'the new folder, to publish as it is. OUT.private beside it, which is made too, is yours alone',
    },
    dryRun: { type: 'flag', description: 'say what would be done and what can be expected, and do nothing' },
    ...heldOutOptions,
    p: {
      type: 'number',
      value: 'P',
      default: DEFAULT_GOAL,
      minimum: 1e-300,
      maximum: 0.5,
      description: 'the p-value hoped for: so many images are marked that measured suspects showed it',
    },
    fraction: {
      type: 'number',
      value: 'Q',
      minimum: 0,
      maximum: 1,
      description: `share of each class to mark, one image at least; default what P needs, at most ${MOST_MARKED}`,
    },
    hardest: hardestOption,
    model: {
      type: 'string',
      value: 'MARKER',
      description:
        'mark for the features of this network; needs --fraction. Default: cosine patterns, which suspects learn that are trained or fine-tuned on the images',
    },
    ...carrierOptions,
    statistic: { ...statisticOption, default: 'black-box' },
    ...fixedTestOptions,
    ...beaconOptions,
    ...referenceOptions,
    radius: radiusOption,
    ...recipeOptions,
    ...publishedOptions,
    split: splitOption,
    ...imageOptions,
    ...networkOptions,
    ...precisionOption,
  },
  afterInterrupt: 'run the same command again to go on',
  examples: [
    'photographs -o photographs-to-publish',
    'photographs -o photographs-to-publish --dry-run',
    'images --held-out held-out --fraction 0.1 --await-beacon drand -o images-to-publish',
  ],
  async run(context) {
    const { options, log } = context;
    const { awaitBeacon, decoys, perClass, combine, reference, labelOnly } = options;
    beaconOption(options);
    const report = await runProtection(
      {
        data: options.data,
        split: options.split,
        decode: decodeOptions(options),
        output: options.output,
        heldOut: options.heldOut === undefined ? undefined : { path: options.heldOut, split: options.heldOutSplit },
        p: options.p,
        fraction: options.fraction,
        hardest: options.hardest,
        model: options.model,
        network: networkOverrides(options),
        carriers: options.carriers,
        dimension: options.dimension,
        statistic: options.statistic,
        blackBox: { decoys, perClass, combine, references: reference?.split(','), labelOnly },
        beacon: awaitBeacon === undefined ? undefined : () => beaconOption(options),
        references: options.references,
        training: referenceTraining(options),
        recipe: { ...markingRecipe(options), radiusLevels: options.radius },
        format: options.format === 'png' ? 'PNG' : undefined,
        strip: options.strip,
        copyUnmarked: options.copyUnmarked,
        batchSize: options.batch,
        dryRun: options.dryRun,
      },
      context,
      {
        onPlan: (plan) => {
          if (options.dryRun) return;
          for (const line of describePlan(plan, options)) log(line);
        },
      },
    );
    const { plan, kept, state, key, commitment, marked } = report;
    const skipped = marked?.manifest.skipped ?? [];
    return {
      json: {
        state,
        output: options.output,
        private: kept.folder,
        plan,
        key: key && { path: kept.key, commitment, guarantees: keyGuarantees(key) },
        marked: marked && { summary: marked.manifest.summary, skipped, commitment: marked.commitment },
        next: nextSteps(report, options),
      },
      text: [
        ...(options.dryRun ? describePlan(plan, options) : []),
        ...(marked ? [`${options.output}: ${describeMarks(marked.manifest)}`] : []),
        ...nextSteps(report, options),
      ].join('\n'),
      ...(skipped.length > 0 && { exitCode: 3 }),
    };
  },
});

/** What the owner does now, a line each. */
function nextSteps(
  { state, kept, key, commitment, marked, plan }: ProtectionReport,
  { data, output }: { readonly data: string; readonly output: string },
): string[] {
  if (state === 'planned') return ['Nothing was done: run the same command without --dry-run.'];
  const stamp = (request: string): string =>
    `curl -H 'Content-Type: application/timestamp-query' --data-binary @${request} URL-OF-THE-AUTHORITY -o ${request.replace(/\.tsq$/, '.tsr')}`;
  if (state === 'waiting') {
    const beacon = key!.beacon!;
    const value = beacon.kind === 'drand' ? 'round.json' : kept.keyRequest.replace(/\.tsq$/, '.tsr');
    return [
      `The key waits for ${describeBeacon(beacon)}. Publish its commitment ${commitment}, or have it stamped: ${stamp(kept.keyRequest)}`,
      ...(beacon.kind === 'drand'
        ? [`Afterwards: curl https://api.drand.sh/${beacon.chain}/public/${beacon.round} -o ${value}`]
        : []),
      `Then: radioactive complete --key ${kept.key} --beacon ${value}, and run the same command again.`,
    ];
  }
  const held = plan.protection.heldOut.kind === 'held back' ? `, the images to test on ${kept.heldOut}` : '';
  return [
    `Publish the commitment first: ${commitment}, or have it stamped: ${stamp(kept.keyRequest)}; of the marked images likewise ${marked!.commitment} (${kept.dataRequest})`,
    `Publish: ${output}, as it is, in place of ${data}`,
    `Keep:    ${kept.folder}, with the key${held}; and ${data}. Publish none of them`,
    `Test:    radioactive check --key ${kept.key} SUSPECT`,
  ];
}

/** A plan in words: what will be done, and what can be expected. */
export function describePlan(
  plan: ProtectionPlan,
  { data, output }: { readonly data: string; readonly output: string },
): string[] {
  const { protection, classes, images, probes, warnings } = plan;
  const { heldOut, network, marking, references } = protection;
  const sum = (of: 'images' | 'heldBack' | 'marked'): number => classes.reduce((total, each) => total + each[of], 0);
  const { smallest, largest } = images.shorterSide;
  const sides = smallest === largest ? `${smallest}` : `${smallest} to ${largest}`;
  const published = sum('images') - sum('heldBack');
  return [
    `${data}: ${protection.data.count} images in ${classes.length} classes, ${images.channels === 1 ? 'grey' : 'colour'}, shorter side ${sides} pixels`,
    ...columns([
      ['class', 'images', 'held back', 'marked'],
      ...classes.slice(0, SHOWN).map((each) => [each.name, ...[each.images, each.heldBack, each.marked].map(String)]),
      ...(classes.length > SHOWN ? [[`and ${classes.length - SHOWN} more`]] : []),
    ]),
    heldOut.kind === 'held back'
      ? `${sum('heldBack')} images are held back to test suspects on: copied to ${output}.private/held-out, never marked, and not in ${output}`
      : `suspects are tested on ${heldOut.count} images of ${heldOut.path}, which must never be published`,
    `${published} images go to ${output}, ${sum('marked')} of them marked (${percent(marking.fraction)} of each class), which ones the key decides`,
    network.kind === 'patterns'
      ? `marks are ${network.patterns} cosine patterns of ${network.inputSize}x${network.inputSize}, which models learn that are trained or fine-tuned on the images; a new last layer on frozen features learns less of them`
      : `marks are for the features of ${network.path}`,
    ...(probes
      ? [
          `the test asks a model ${probes.images} questions (${probes.perClass} images of each class towards ${probes.sets} carrier sets, some ${size(probes.bytes)} of PNG files, made by check)`,
        ]
      : []),
    ...(references > 0
      ? [`${references} reference models are trained on the unmarked images, which the key fixes`]
      : []),
    ...describeOutlook(plan),
    ...warnings.map((line) => `note: ${line}`),
  ];
}

function describeOutlook({ outlook, goal, classes, images, protection }: ProtectionPlan): string[] {
  const { network } = protection;
  if (!outlook || network.kind !== 'patterns')
    return ['what to expect was not measured for this marking network; see radioactive power'];
  if (outlook.measured.length === 0)
    return [
      `what ${percent(outlook.fraction)} gives was not measured with ${network.patterns} patterns, and is not guessed`,
    ];
  const K = classes.length;
  const rows = outlook.measured.map((each) => [
    each.setting + (each.between[0] === each.between[1] ? '' : ', between shares'),
    each.marked,
    String(each.models),
    range(each.log10p),
    each.classCount === K ? 'measured' : range(each.expected),
  ]);
  const other = outlook.measured.some(({ classCount }) => classCount !== K);
  return [
    `expected log10 p at ${percent(outlook.fraction)} marked, hoped for ${Math.log10(goal).toFixed(1)}, by the measured curves (docs/power.md):`,
    ...columns([
      [
        'suspect',
        'marked images',
        'models',
        `measured with ${outlook.measured[0].classCount} classes`,
        `with ${K} classes`,
      ],
      ...rows,
    ]),
    `measured on 10 000 grey images of 28x28, 1000 of each class, with up to three reference models. Yours are ${Math.round(protection.data.count / K)} of each class with a shorter side of ${images.shorterSide.median}: ${other ? `the last column is extrapolated by the number of classes, and ` : ''}what your number and kind of images change was not measured`,
    `the test can give no log10 p below ${outlook.floor.toFixed(1)}`,
  ];
}

const percent = (share: number): string => `${Number((100 * share).toPrecision(3))} %`;

const range = ({ median, min, max }: { readonly median: number; readonly min: number; readonly max: number }): string =>
  `${median.toFixed(1)} (${min.toFixed(1)} to ${max.toFixed(1)})`;

const size = (bytes: number): string =>
  bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${Math.max(1, Math.round(bytes / 1e6))} MB`;
