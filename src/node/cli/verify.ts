import { dirname } from 'node:path';
import { UsageError } from '../../errors.ts';
import { jsonDocument } from '../../formats/json.ts';
import { commitment } from '../../marking/key.ts';
import { openMarked } from '../datasets/marked_folder.ts';
import { openDataset } from '../datasets/open.ts';
import { registerPath } from '../evidence/register.ts';
import { readResult } from '../evidence/result.ts';
import { concludeVerification } from '../evidence/verification.ts';
import { type Check, verifyEvidence } from '../evidence/verify.ts';
import { exists, readBytes, requireNewFile } from '../files/files.ts';
import { writeAtomic } from '../files/write.ts';
import { openProbeImages, openProbes } from '../runs/make_probes.ts';
import { defineCommand } from './command.ts';
import { decodeOptions, imageOptions, openKey, splitOption } from './inputs.ts';

export const verify = defineCommand({
  name: 'verify',
  summary:
    'Checks, with the revealed key, all that a third party can: commitment, time stamps, marked images, statistics, register',
  options: {
    key: { type: 'string', value: 'KEY', required: true, description: 'the key file' },
    commitment: { type: 'string', value: 'HEX', description: 'what was published' },
    model: { type: 'string', value: 'MARKER', description: "the key's marking network" },
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
      default: 1000,
      minimum: 1,
      description: 'how many marked images, and how many probes, are compared with their originals',
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
    ...imageOptions,
  },
  examples: [
    '--key owner.key --result evidence/result.json --marked images-to-publish',
    '--key owner.key --commitment 1f…c2 --model marker.safetensors --result evidence/result.json --marked images-to-publish --original images --data held-out --reply key.tsr,data.tsr --ca authority.pem',
  ],
  async run({ options, progress, signal }) {
    if (options.output !== undefined) await requireNewFile(options.output);
    if (options.features !== undefined && options.result === undefined)
      throw new UsageError('--features goes with --result');
    if (options.commitment !== undefined && !/^[0-9a-f]{64}$/.test(options.commitment))
      throw new UsageError(`--commitment ${options.commitment}: must be 64 lower-case hex digits`);
    if (options.original !== undefined && options.marked === undefined)
      throw new UsageError('--original goes with --marked');
    const key = await openKey(options.key);
    const decode = decodeOptions(options);
    const open = (path: string, split: 'train' | 'test', keepFaults = false) =>
      openDataset(path, { split, classes: key.classes, decode, keepFaults });
    const result = options.result === undefined ? undefined : await readResult(options.result);
    const beside = registerPath(options.key);
    const display = { current: undefined as ReturnType<typeof progress> | undefined };
    const checks = await verifyEvidence({
      key,
      keyPath: options.key,
      published: options.commitment,
      modelPath: options.model,
      result,
      features: options.features ?? (options.result === undefined ? undefined : dirname(options.result)),
      register: options.register ?? ((await exists(beside)) ? beside : undefined),
      marked:
        options.marked === undefined
          ? undefined
          : { folder: await openMarked(options.marked), dataset: await open(options.marked, options.split, true) },
      // As mark opens it: a file that it could not mark is part of the data set.
      original: options.original === undefined ? undefined : await open(options.original, options.split, true),
      probes: options.probes === undefined ? undefined : await openProbeFolder(options.probes),
      sample: options.sample,
      heldOut: options.data === undefined ? undefined : await open(options.data, options.dataSplit),
      replies: options.reply?.split(','),
      ca: options.ca === undefined ? undefined : new TextDecoder().decode(await readBytes(options.ca)),
      onProgress: (done, total) => {
        display.current ??= progress('comparing', total, 'images');
        display.current.update(done);
      },
      signal,
    });
    display.current?.done();
    const found = concludeVerification(checks, { keyCommitment: await commitment(key), result: result?.json });
    if (options.output !== undefined) await writeAtomic(options.output, new TextEncoder().encode(jsonDocument(found)));
    const { passed, failed, notChecked } = found;
    return {
      json: found,
      text: [...table(checks), '', `${passed} ok, ${failed} failed, ${notChecked} not checked`].join('\n'),
      ...(failed > 0 && { exitCode: 6 }),
    };
  },
});

async function openProbeFolder(path: string) {
  const opened = await openProbes(path);
  return { opened, dataset: await openProbeImages(opened) };
}

function table(checks: readonly Check[]): string[] {
  const width = Math.max(...checks.map(({ check }) => check.length));
  const said = (ok: boolean | null): string => (ok === null ? '-' : ok ? 'ok' : 'FAILED');
  return checks.map(({ check, ok, detail }) => `${check.padEnd(width)}  ${said(ok).padEnd(6)}  ${detail}`);
}
