/** What a third party can check, from files. */

import { dirname } from 'node:path';
import { concludeVerification, type Verification } from '../../evidence/verification.ts';
import { verifyEvidence } from '../../evidence/verify.ts';
import type { DecodeOptions } from '../../images/decode.ts';
import { commitment } from '../../marking/key.ts';
import { openDataset } from '../datasets/open.ts';
import { readArrays } from '../evidence/arrays.ts';
import { openMarked } from '../evidence/marked.ts';
import { registerPath } from '../evidence/register.ts';
import { readResult } from '../evidence/result.ts';
import { exists, readBytes } from '../files/files.ts';
import { hashFile } from '../files/write.ts';
import type { RunContext } from './context.ts';
import { openKey } from './inputs.ts';
import { openProbeImages, openProbes } from './make_probes.ts';

/** A data set by its path, which may end with a range: `folder#0:100`. */
export interface DatasetFiles {
  readonly path: string;
  /** Which IDX files, where the folder holds both. */
  readonly split: 'train' | 'test';
}

/** Paths of what there is to check; what is absent is not checked. */
export interface VerificationFiles {
  readonly key: string;
  /** What was published, 64 hex digits. */
  readonly published?: string | undefined;
  /** The key's marking network. */
  readonly model?: string | undefined;
  readonly result?: string | undefined;
  /** Folder of the arrays that the result was made from; default the result's own. */
  readonly features?: string | undefined;
  /** The list of tests; default `KEY.register.jsonl`, if it is there. */
  readonly register?: string | undefined;
  /** The folder that marking made, as a data set. */
  readonly marked?: DatasetFiles | undefined;
  readonly original?: DatasetFiles | undefined;
  readonly probes?: string | undefined;
  readonly heldOut?: DatasetFiles | undefined;
  /** Replies of a time-stamping authority. */
  readonly replies?: readonly string[] | undefined;
  /** Certificates of the authorities that are trusted, in PEM. */
  readonly ca?: string | undefined;
  readonly decode?: DecodeOptions | undefined;
  /** How many marked images are compared with their originals, and how many probes; default 1 000. */
  readonly sample?: number | undefined;
}

/** Marked images, and probes, that are compared with their originals. */
export const DEFAULT_SAMPLE = 1000;

/**
 * Checks evidence in files.
 *
 * @throws InputError where one cannot be read at all; what does not hold is a failed check.
 */
export async function runVerification(
  files: VerificationFiles,
  { progress, signal }: Pick<RunContext, 'progress' | 'signal'>,
): Promise<Verification> {
  const key = await openKey(files.key, { waiting: true });
  const { decode } = files;
  const open = ({ path, split }: DatasetFiles, keepFaults = false) =>
    openDataset(path, { split, classes: key.classes, keepFaults, ...(decode && { decode }) });
  const read = async (path: string) => ({ path, bytes: await readBytes(path) });
  const result = files.result === undefined ? undefined : await readResult(files.result);
  const features = files.features ?? (files.result === undefined ? undefined : dirname(files.result));
  const beside = registerPath(files.key);
  const register = files.register ?? ((await exists(beside)) ? beside : undefined);
  let display: ReturnType<RunContext['progress']> | undefined;
  const checks = await verifyEvidence({
    key,
    published: files.published,
    model: files.model === undefined ? undefined : { path: files.model, sha256: await hashFile(files.model) },
    result,
    arrays:
      features === undefined || !result?.value.saved
        ? undefined
        : await readArrays(features, Object.keys(result.value.saved)),
    register:
      register === undefined
        ? undefined
        : { path: register, text: new TextDecoder().decode(await readBytes(register)) },
    marked: files.marked && { folder: await openMarked(files.marked.path), dataset: await open(files.marked, true) },
    // As mark opens it: a file that it could not mark is part of the data set.
    original: files.original && (await open(files.original, true)),
    probes: files.probes === undefined ? undefined : await probesOf(files.probes),
    sample: files.sample ?? DEFAULT_SAMPLE,
    heldOut: files.heldOut && (await open(files.heldOut)),
    replies: files.replies && (await Promise.all(files.replies.map(read))),
    ca: files.ca === undefined ? undefined : new TextDecoder().decode(await readBytes(files.ca)),
    onProgress: (done, total) => {
      display ??= progress('comparing', total, 'images');
      display.update(done);
    },
    signal,
  });
  display?.done();
  return concludeVerification(checks, { keyCommitment: await commitment(key), result: result?.json });
}

async function probesOf(path: string) {
  const opened = await openProbes(path);
  return { manifest: opened.manifest, sha256: opened.sha256, dataset: await openProbeImages(opened) };
}
