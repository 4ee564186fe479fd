import { join } from 'node:path';
import { openDataset } from '../datasets/dataset.ts';
import { exists, requireNewFile } from '../datasets/files.ts';
import { hashDataset, writeAtomic } from '../datasets/write.ts';
import { heldOutFeatures, testFeatures } from '../detection/detect.ts';
import { DEFAULT_FRESH_KEYS } from '../detection/fresh_keys.ts';
import { beginRegister, registerPath, requireRegister } from '../evidence/register.ts';
import { concludeTest, RESULT_NAME, type Result } from '../evidence/result.ts';
import { saveFeatures } from '../evidence/saved.ts';
import { jsonDocument } from '../formats/json.ts';
import { commitment, type Key } from '../marking/key.ts';
import { columns, defineCommand } from './command.ts';
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

export const detect = defineCommand({
  name: 'detect',
  summary: 'Tests whether a model was trained on data marked with a key: the white-box test, with its p-value',
  options: {
    key: { type: 'string', value: 'KEY', required: true, description: 'the key file' },
    model: { type: 'string', value: 'MARKER', required: true, description: "the key's marking network" },
    data: {
      type: 'string',
      value: 'HELDOUT',
      required: true,
      description: 'unmarked images, ten times as many as features or more, none of them marked for this key',
    },
    output: { type: 'string', short: 'o', value: 'FILE', description: 'also write the result, as --json prints it' },
    save: {
      type: 'string',
      value: 'DIR',
      description: 'new folder for the result and the arrays it was made from, for verify',
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
  },
  examples: [
    '--key owner.key --model weights/marker.safetensors --suspect suspect.safetensors --data data',
    '--key owner.key --model weights/marker.safetensors --suspect-features features.npy --suspect-classifier weight.npy --data data',
  ],
  async run(context) {
    const { options, openDevice, log, signal } = context;
    if (options.output) await requireNewFile(options.output);
    if (options.save) await requireNewFile(options.save);
    const key = await openKey(options.key);
    const register = options.register ?? registerPath(options.key);
    await openRegister(register, key, options.newRegister, log);
    const dataset = await openDataset(options.data, {
      split: options.split,
      classes: key.classes,
      decode: decodeOptions(options),
    });
    await requireVanilla(dataset);
    const marking = await openMarkingNetwork(context, options.model, key, dataset);
    try {
      const heldOut = await load(dataset, marking.model.config.channels, context.progress);
      const opened = await openSuspect(context, options, key.classes, heldOut);
      try {
        const display = context.progress('features', ('model' in opened.suspect ? 2 : 1) * dataset.length, 'images');
        const features = await heldOutFeatures({
          marking: { model: marking.model, heldOut },
          suspect: opened.suspect,
          onProgress: (done) => display.update(done),
          signal,
        });
        display.done();
        const finding = await testFeatures(key, features.marking, features.suspect, {
          freshKeys: options.freshKeys,
          signal,
        });
        const data = { path: options.data, count: dataset.length, sha256: await hashDataset(dataset) };
        const saved =
          options.save === undefined
            ? undefined
            : await saveFeatures(options.save, { marking: features.marking, ...features.suspect, n: dataset.length });
        const result = await concludeTest(
          finding,
          {
            key,
            test: 'white-box',
            suspect: opened.record,
            data,
            adapter: (await openDevice()).name,
            command: ['radioactive', ...process.argv.slice(2)],
            saved,
          },
          register,
        );
        const document = new TextEncoder().encode(jsonDocument(result));
        if (options.save) await writeAtomic(join(options.save, RESULT_NAME), document);
        if (options.output) await writeAtomic(options.output, document);
        for (const warning of [...result.warnings, ...result.deviations]) log(warning);
        const { alignment, statistics } = finding;
        return {
          json: result,
          text: [
            `log10 p ${finding.log10p.toFixed(3)}: if the carriers were independent of this model, evidence this strong would have probability 10^${finding.log10p.toFixed(2)}`,
            ...describeLooks(result),
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
          ].join('\n'),
        };
      } finally {
        opened.destroy();
      }
    } finally {
      marking.model.destroy();
    }
  },
});

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
