import { join } from 'node:path';
import { hashDataset } from '../../datasets/hash.ts';
import { heldOutFeatures, testFeatures } from '../../detection/detect.ts';
import { DEFAULT_FRESH_KEYS } from '../../detection/fresh_keys.ts';
import { UsageError } from '../../errors.ts';
import { jsonDocument } from '../../formats/json.ts';
import { commitment, type Key } from '../../marking/key.ts';
import { openDataset } from '../datasets/open.ts';
import { beginRegister, registerPath, requireRegister } from '../evidence/register.ts';
import {
  type Circumstances,
  concludeTest,
  type Finding,
  RESULT_NAME,
  type Result,
  storedResult,
} from '../evidence/result.ts';
import { saveFeatures } from '../evidence/saved.ts';
import { exists, requireNewFile } from '../files/files.ts';
import { writeAtomic } from '../files/write.ts';
import { assembleReport } from '../report/assemble.ts';
import { type Context, columns, defineCommand, type Values } from './command.ts';
import { blackBoxOptions, checkTestOptions, detectBlackBox } from './detect_blackbox.ts';
import {
  decodeOptions,
  imageOptions,
  load,
  openKey,
  openMarkingNetwork,
  requireVanilla,
  splitOption,
} from './inputs.ts';
import { openSuspect, suspectOptions } from './suspect.ts';

const detectOptions = {
  key: { type: 'string', value: 'KEY', required: true, description: 'the key file' },
  model: { type: 'string', value: 'MARKER', description: "the key's marking network; needed but with --black-box" },
  data: {
    type: 'string',
    value: 'HELDOUT',
    description:
      'unmarked images, ten times as many as features or more, none of them marked for this key; needed but with --black-box',
  },
  ...blackBoxOptions,
  output: { type: 'string', short: 'o', value: 'FILE', description: 'also write the result, as --json prints it' },
  save: {
    type: 'string',
    writes: true,
    value: 'DIR',
    description: 'new folder for the result and the arrays it was made from, for verify',
  },
  report: {
    type: 'string',
    writes: true,
    value: 'FILE.html',
    description: 'also write a page with the result; report makes one with more in it',
  },
  register: {
    type: 'string',
    value: 'FILE',
    description: 'the list of all tests with the key, which this one is added to; default KEY.register.jsonl',
  },
  newRegister: { type: 'flag', description: 'begin that list where it is lost; every report will say so' },
  freshKeys: {
    type: 'integer',
    value: 'N',
    default: DEFAULT_FRESH_KEYS,
    minimum: 0,
    maximum: 1_000_000,
    description: 'keys that marked nothing, to compare with',
  },
  split: { ...splitOption, default: 'test' },
  ...imageOptions,
  ...suspectOptions,
} as const;

/** What a test found, with everything that a result tells of it. */
export interface Tested extends Omit<Circumstances, 'key' | 'command' | 'saved'> {
  readonly finding: Finding;
  /** Writes what it was made from into a folder. */
  readonly save: (folder: string) => Promise<Record<string, string>>;
  /** For people, below the p-value. */
  readonly text: readonly string[];
}

export const detect = defineCommand({
  name: 'detect',
  summary:
    'Tests whether a model was trained on data marked with a key, with its p-value: the white-box test, or from scores alone the black-box test',
  options: detectOptions,
  examples: [
    '--key owner.key --model weights/marker.safetensors --suspect suspect.safetensors --data data',
    '--key owner.key --model weights/marker.safetensors --suspect suspect.safetensors --data data --save evidence --report report.html',
    '--key owner.key --model weights/marker.safetensors --suspect-features features.npy --suspect-classifier weight.npy --data data',
    '--key owner.key --black-box --probes probes --suspect suspect.safetensors --reference innocent.safetensors',
    '--key owner.key --black-box --probes probes --scores answers.csv --reference innocent-1.safetensors,innocent-2.safetensors',
  ],
  async run(context) {
    const { options, log } = context;
    checkTestOptions(options);
    if (options.output) await requireNewFile(options.output);
    if (options.save) await requireNewFile(options.save);
    if (options.report) {
      if (!options.save && !options.output)
        throw new UsageError('--report goes with --save DIR or -o FILE: the page is about a result that is kept');
      await requireNewFile(options.report);
    }
    const key = await openKey(options.key);
    const register = options.register ?? registerPath(options.key);
    await openRegister(register, key, options.newRegister, log);
    const tested = options.blackBox
      ? await detectBlackBox(context, options, key)
      : await detectWhiteBox(context, options, key);
    const { finding, save, text, ...circumstances } = tested;
    const saved = options.save === undefined ? undefined : await save(options.save);
    const command = ['radioactive', ...process.argv.slice(2)];
    const result = await concludeTest(finding, { ...circumstances, key, command, saved }, register);
    const written = jsonDocument(result);
    const document = new TextEncoder().encode(written);
    if (options.save) await writeAtomic(join(options.save, RESULT_NAME), document);
    if (options.output) await writeAtomic(options.output, document);
    if (options.report) {
      const path = options.save ? join(options.save, RESULT_NAME) : options.output!;
      const { page } = await assembleReport({ result: storedResult(written, path), register });
      await writeAtomic(options.report, new TextEncoder().encode(page));
    }
    for (const warning of [...result.warnings, ...result.deviations]) log(warning);
    return {
      json: result,
      text: [
        `log10 p ${finding.log10p.toFixed(3)}: if the carriers were independent of this model, evidence this strong would have probability 10^${finding.log10p.toFixed(2)}`,
        ...describeLooks(result),
        ...text,
      ].join('\n'),
    };
  },
});

async function detectWhiteBox(
  context: Context<unknown>,
  options: Values<typeof detectOptions>,
  key: Key,
): Promise<Tested> {
  const { openDevice, progress, signal } = context;
  const [modelPath, dataPath] = [options.model!, options.data!];
  const dataset = await openDataset(dataPath, {
    split: options.split,
    classes: key.classes,
    decode: decodeOptions(options),
  });
  await requireVanilla(dataset);
  const marking = await openMarkingNetwork(context, modelPath, key, dataset);
  try {
    const heldOut = await load(dataset, marking.model.config.channels, progress);
    const opened = await openSuspect(context, options, key.classes, heldOut);
    try {
      const display = progress('features', ('model' in opened.suspect ? 2 : 1) * dataset.length, 'images');
      const features = await heldOutFeatures({
        marking: { model: marking.model, heldOut },
        suspect: opened.suspect,
        onProgress: (done) => display.update(done),
        signal,
      });
      display.done();
      const { freshKeys } = options;
      const finding = await testFeatures(key, features.marking, features.suspect, { freshKeys, signal });
      const { alignment, statistics } = finding;
      return {
        finding,
        test: 'white-box',
        suspect: opened.record,
        data: { path: dataPath, count: dataset.length, sha256: await hashDataset(dataset) },
        adapter: (await openDevice()).name,
        save: (folder) => saveFeatures(folder, { marking: features.marking, ...features.suspect, n: dataset.length }),
        text: [
          ...statistics.flatMap(({ null: nothing }) =>
            nothing
              ? [`${nothing.atMost} of ${nothing.log10p.length} fresh keys, which marked nothing, give as much`]
              : [],
          ),
          `mean cosine ${finding.meanCosine.toFixed(4)} in ${finding.dimension} dimensions; alignment on ${alignment.n} images, rank ${alignment.rank}, r2 ${alignment.r2.toFixed(3)}`,
          ...columns(
            finding.perClass.map((entry, index) => [
              entry.class ?? `class ${index}`,
              `cosine ${entry.cosine.toFixed(4)}  log10 p ${entry.log10p.toFixed(3)}`,
            ]),
          ),
        ],
      };
    } finally {
      opened.destroy();
    }
  } finally {
    marking.model.destroy();
  }
}

/** Makes sure, before long work, that the test can be registered. Keys of version 1 come without a register. */
async function openRegister(path: string, key: Key, anew: boolean, log: (line: string) => void): Promise<void> {
  const keyCommitment = await commitment(key);
  if (anew || (key.version === 1 && !(await exists(path)))) {
    await beginRegister(path, keyCommitment, false);
    log(`${path}: begun; tests made before are not in it`);
  }
  await requireRegister(path, keyCommitment);
}

function describeLooks({ primary, register: { looks, log10pBonferroni, withKey } }: Result): string[] {
  const known = withKey ? '' : ', and earlier ones that the register does not know';
  return [
    `test ${looks} with this key${known}: corrected for ${looks === 1 ? 'it' : `the ${looks}`} (Bonferroni), log10 p ${Number(log10pBonferroni).toFixed(3)}`,
    ...(primary ? [] : ['not the test that the key fixes: it counts as a look, not as the evidence announced']),
  ];
}
