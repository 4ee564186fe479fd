import { UsageError } from '../../errors.ts';
import { jsonDocument } from '../../formats/json.ts';
import { openDataset } from '../datasets/open.ts';
import { withoutHeldBack } from '../evidence/held_back.ts';
import { openMarked } from '../evidence/marked.ts';
import { requireNewFile } from '../files/files.ts';
import { PRIVATE_FILE_MODE } from '../files/private_part.ts';
import { writeAtomic } from '../files/write.ts';
import {
  assembleReport,
  DEFAULT_SHOWN,
  openEvidence,
  PATTERNS,
  readVerification,
  shownByDefault,
} from '../report/assemble.ts';
import { defineCommand } from './command.ts';
import { decodeOptions, imageOptions, splitOption } from './inputs.ts';

export const report = defineCommand({
  name: 'report',
  summary:
    'Makes a page from the result of a test that a court can read: finding, evidence, assumptions, how to check it',
  options: {
    evidence: {
      type: 'string',
      value: 'EVIDENCE',
      required: true,
      positional: true,
      description: 'the folder that detect --save made, or a result.json',
    },
    output: {
      type: 'string',
      short: 'o',
      value: 'FILE',
      required: true,
      description: 'the page to write, .html; or .json, the same for programs (docs/report.schema.json)',
    },
    register: {
      type: 'string',
      value: 'FILE',
      description: 'the list of tests with the key, KEY.register.jsonl: later tests count too',
    },
    verification: { type: 'string', value: 'FILE.json', description: 'what verify -o wrote of this result' },
    marked: { type: 'string', value: 'OUT', description: 'the marked data set' },
    original: {
      type: 'string',
      value: 'DATASET',
      description: 'the same before it was marked, to show images side by side',
    },
    images: {
      type: 'integer',
      value: 'N',
      minimum: 0,
      maximum: 200,
      description: `how many images are shown, which give away something of the mark; default ${DEFAULT_SHOWN}, and with a key for ${PATTERNS} none, whose carriers pairs of original and marked images give`,
    },
    full: {
      type: 'flag',
      description:
        "of a black-box result, also exact probabilities and every class's figures: whoever has the probes and the model's answers learns from them which probes are the true ones. Default: bounds",
    },
    split: { ...splitOption, description: 'of --marked and --original, where a folder holds both' },
    ...imageOptions,
  },
  examples: [
    'evidence -o report.html',
    'evidence --register owner.key.register.jsonl --verification verification.json --marked images-to-publish --original images -o report.html',
  ],
  async run({ options, progress, log, signal }) {
    const { output } = options;
    const form = /\.(html?|json)$/i.exec(output)?.[1].toLowerCase();
    if (form === undefined) throw new UsageError(`-o ${output}: must end with .html or .json`);
    if (options.original !== undefined && options.marked === undefined)
      throw new UsageError('--original goes with --marked');
    await requireNewFile(output);
    const result = await openEvidence(options.evidence);
    const { classes } = result.value.key;
    const decode = decodeOptions(options);
    const open = (path: string) => openDataset(path, { split: options.split, classes, decode, keepFaults: true });
    const shown = options.images ?? shownByDefault(result);
    if (options.original !== undefined && shown > 0)
      log(
        'the page shows marked images beside their originals, from which something of the carriers can be computed: --images 0 shows none',
      );
    const display = { current: undefined as ReturnType<typeof progress> | undefined };
    const { report, page } = await assembleReport({
      result,
      full: options.full,
      register: options.register,
      verification: options.verification === undefined ? undefined : await readVerification(options.verification),
      marked:
        options.marked === undefined
          ? undefined
          : {
              folder: await openMarked(options.marked),
              dataset: await open(options.marked),
              original:
                options.original === undefined
                  ? undefined
                  : await withoutHeldBack(await open(options.original), options.marked),
              count: shown,
              onProgress: (done, total) => {
                display.current ??= progress('comparing', total, 'images');
                display.current.update(done);
              },
              signal,
            },
    });
    display.current?.done();
    await writeAtomic(
      output,
      new TextEncoder().encode(form === 'json' ? jsonDocument(report) : page),
      PRIVATE_FILE_MODE,
    );
    return { json: report, text: [`${output}: ${report.headline}.`, '', ...report.verdict].join('\n') };
  },
});
