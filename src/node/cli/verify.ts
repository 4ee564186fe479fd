import { UsageError } from '../../errors.ts';
import type { Check, CheckState } from '../../evidence/check.ts';
import { jsonDocument } from '../../formats/json.ts';
import { textTable } from '../../formats/text_table.ts';
import { requireNewFile } from '../files/files.ts';
import { PRIVATE_FILE_MODE } from '../files/private_part.ts';
import { writeAtomic } from '../files/write.ts';
import { runVerification } from '../runs/verify.ts';
import { defineCommand } from './command.ts';
import { decodeOptions, imageOptions, networkOptions, networkOverrides, splitOption } from './inputs.ts';

export const verify = defineCommand({
  name: 'verify',
  summary:
    'Checks, with the revealed key, all that a third party can: commitment, time stamps, marked images, statistics, register',
  options: {
    key: { type: 'string', value: 'KEY', required: true, description: 'the key file' },
    commitment: { type: 'string', value: 'HEX', description: 'what was published' },
    model: { type: 'string', value: 'MARKER', description: "the key's marking network" },
    vanilla: {
      type: 'string',
      value: 'DATASET',
      description: "the unmarked images that the key's subspace was found on, to compute it again; with --model",
    },
    vanillaSplit: { ...splitOption, description: 'likewise, of --vanilla' },
    suspect: {
      type: 'string',
      value: 'MODEL',
      description: 'the model under test: what it makes of the images is computed again',
    },
    suspectClasses: {
      type: 'string',
      value: 'FILE|DATASET',
      description: 'as it was given to detect',
    },
    reference: { type: 'string', value: 'MODEL,…', description: 'reference models of a black-box test, likewise' },
    result: { type: 'string', value: 'FILE.json', description: 'the result of a test' },
    features: {
      type: 'string',
      value: 'DIR',
      description: 'the arrays that detect --save kept; default the folder of --result',
    },
    register: {
      type: 'string',
      value: 'FILE',
      description: 'the list of tests with the key; default KEY.register.jsonl',
    },
    marked: { type: 'string', value: 'OUT', description: 'the marked data set' },
    original: {
      type: 'string',
      value: 'DATASET',
      description: 'the same before it was marked, to measure the changes again',
    },
    probes: { type: 'string', value: 'PROBES', description: 'the probes of a black-box test' },
    sample: {
      type: 'integer',
      value: 'N',
      minimum: 1,
      description:
        'look at no more images of each kind, drawn at random: quicker, and what the claim rests on counts as not checked',
    },
    split: { ...splitOption, description: 'of --marked and --original, where a folder holds both' },
    data: { type: 'string', value: 'HELDOUT', description: 'the images that the test ran on' },
    dataSplit: { ...splitOption, default: 'test', description: 'likewise, of --data' },
    reply: { type: 'string', value: 'FILE.tsr,…', description: 'replies of a time-stamping authority' },
    ca: { type: 'string', value: 'FILE.pem', description: 'certificates of the authorities you trust' },
    output: {
      type: 'string',
      short: 'o',
      value: 'FILE.json',
      description: 'also write what was found, as --json prints it; report shows it',
    },
    partial: {
      type: 'flag',
      description: 'exit code 0, not 7, where nothing failed and some of it could not be checked',
    },
    ...imageOptions,
    ...networkOptions,
  },
  examples: [
    '--key owner.key --result evidence/result.json --marked images-to-publish',
    '--key owner.key --commitment 1f…c2 --model marker.safetensors --vanilla vanilla --suspect suspect.safetensors --result evidence/result.json --marked images-to-publish --original images --data held-out --reply key.tsr,register.tsr,data.tsr --ca authority.pem',
  ],
  async run(context) {
    const { options } = context;
    if (options.output !== undefined) await requireNewFile(options.output);
    if (options.features !== undefined && options.result === undefined)
      throw new UsageError('--features goes with --result');
    if (options.commitment !== undefined && !/^[0-9a-f]{64}$/.test(options.commitment))
      throw new UsageError(`--commitment ${options.commitment}: must be 64 lower-case hex digits`);
    if (options.original !== undefined && options.marked === undefined)
      throw new UsageError('--original goes with --marked');
    const { split, dataSplit } = options;
    const dataset = (path: string | undefined, which: 'train' | 'test') =>
      path === undefined ? undefined : { path, split: which };
    const found = await runVerification(
      {
        key: options.key,
        published: options.commitment,
        model: options.model,
        vanilla: dataset(options.vanilla, options.vanillaSplit),
        suspect:
          options.suspect === undefined
            ? undefined
            : { model: options.suspect, network: networkOverrides(options), classes: options.suspectClasses },
        references: options.reference?.split(','),
        result: options.result,
        features: options.features,
        register: options.register,
        marked: dataset(options.marked, split),
        original: dataset(options.original, split),
        probes: options.probes,
        heldOut: dataset(options.data, dataSplit),
        replies: options.reply?.split(','),
        ca: options.ca,
        decode: decodeOptions(options),
        sample: options.sample,
      },
      context,
    );
    if (options.output !== undefined)
      await writeAtomic(options.output, new TextEncoder().encode(jsonDocument(found)), PRIVATE_FILE_MODE);
    const { passed, failed, notChecked, checks, limits } = found;
    return {
      json: found,
      text: [...table(checks), '', ...limits, '', `${passed} ok, ${failed} failed, ${notChecked} not checked`].join(
        '\n',
      ),
      exitCode: failed > 0 ? FAILED : notChecked > 0 && !options.partial ? NOT_ALL_CHECKED : 0,
    };
  },
});

/** Exit codes: something does not hold; or nothing does not, and not all that the claim rests on was checked. */
const FAILED = 6;
const NOT_ALL_CHECKED = 7;

const SAID: Readonly<Record<CheckState, string>> = { ok: 'ok', failed: 'FAILED', 'not checked': 'not checked' };

function table(checks: readonly Check[]): string[] {
  return textTable(
    checks.map(({ check, state, detail, needs }) => [
      check,
      SAID[state],
      needs === null ? detail : `${detail}; would be checked by: ${needs}`,
    ]),
    { left: 'all' },
  );
}
