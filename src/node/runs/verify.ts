/** What a third party can check, from files. */

import { dirname } from 'node:path';
import type { Dataset } from '../../datasets/dataset.ts';
import { ClassMapping, isSingleLogit } from '../../detection/class_mapping.ts';
import { AdapterError, MissingModuleError } from '../../errors.ts';
import { recordedNetwork } from '../../evidence/checks/doubts.ts';
import type { Evidence } from '../../evidence/material.ts';
import type { Result } from '../../evidence/result.ts';
import { concludeVerification, type Verification } from '../../evidence/verification.ts';
import { verificationLimits, verifyEvidence } from '../../evidence/verify.ts';
import { hashBytes } from '../../formats/sha256.ts';
import type { DecodeOptions } from '../../images/decode.ts';
import { commitment, type Key } from '../../marking/key.ts';
import type { Model } from '../../nn/model.ts';
import { type ConfigOverrides, parseModelFile } from '../../nn/model_file.ts';
import { openDataset } from '../datasets/open.ts';
import { readArrays } from '../evidence/arrays.ts';
import { withoutHeldBack } from '../evidence/held_back.ts';
import { openMarked } from '../evidence/marked.ts';
import { registerPath } from '../evidence/register.ts';
import { readResult } from '../evidence/result.ts';
import { exists, readBytes } from '../files/files.ts';
import { hashFile } from '../files/write.ts';
import type { RunContext } from './context.ts';
import { checkVanilla, openKey, openNetwork, readClasses } from './inputs.ts';
import { openProbeImages, openProbes } from './make_probes.ts';
import type { SuspectFiles } from './suspect.ts';

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
  /** The images that its subspace was found on. */
  readonly vanilla?: DatasetFiles | undefined;
  /** The model under test, as `detect` took it. */
  readonly suspect?: Extract<SuspectFiles, { readonly model: string }> | undefined;
  /** Reference models of a black-box test. */
  readonly references?: readonly string[] | undefined;
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
  /** At most so many images of each kind are looked at; default all that the claim rests on. */
  readonly sample?: number | undefined;
}

/**
 * Checks evidence in files.
 *
 * @throws InputError where one cannot be read at all; what does not hold is a failed check.
 */
export async function runVerification(files: VerificationFiles, context: RunContext): Promise<Verification> {
  const { progress, signal, log } = context;
  const key = await openKey(files.key, { waiting: true });
  const { decode } = files;
  const open = ({ path, split }: DatasetFiles, keepFaults = false) =>
    openDataset(path, { split, classes: key.classes, keepFaults, ...(decode && { decode }) });
  const read = async (path: string) => ({ path, bytes: await readBytes(path) });
  const result = files.result === undefined ? undefined : await readResult(files.result);
  const features = files.features ?? (files.result === undefined ? undefined : dirname(files.result));
  const beside = registerPath(files.key);
  const register = files.register ?? ((await exists(beside)) ? beside : undefined);
  const heldOut = files.heldOut && (await open(files.heldOut));
  const opened: Model[] = [];
  /** A network from its file, where a device is at hand. */
  const network = async (path: string, overrides?: ConfigOverrides): Promise<Model | undefined> => {
    try {
      const { model } = await openNetwork(context, path, overrides);
      opened.push(model);
      return model;
    } catch (error) {
      if (!(error instanceof AdapterError || error instanceof MissingModuleError)) throw error;
      log(`${error.message}: what networks make of images is not checked`);
      return undefined;
    }
  };
  let display: ReturnType<RunContext['progress']> | undefined;
  let shown = '';
  try {
    const evidence: Evidence = {
      key,
      published: files.published,
      model: files.model === undefined ? undefined : await modelOf(files.model, key, network),
      vanilla: files.vanilla && (await checkVanilla(await open(files.vanilla))),
      suspect: files.suspect && (await suspectOf(files.suspect, key, result?.value, network)),
      references:
        files.references &&
        (await Promise.all(
          files.references.map(async (path) => ({ path, sha256: await hashFile(path), network: await network(path) })),
        )),
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
      original: files.original && (await originalOf(await open(files.original, true), files.marked?.path)),
      probes: files.probes === undefined ? undefined : await probesOf(files.probes),
      heldOut,
      replies: files.replies && (await Promise.all(files.replies.map(read))),
      ca: files.ca === undefined ? undefined : new TextDecoder().decode(await readBytes(files.ca)),
    };
    const checks = await verifyEvidence({
      ...evidence,
      sample: files.sample,
      onProgress: (what, done, total) => {
        if (what !== shown) display?.done();
        if (what !== shown) display = progress(what, total, 'images');
        shown = what;
        display?.update(done);
      },
      signal,
    });
    const limits = verificationLimits(key);
    return concludeVerification(checks, { keyCommitment: await commitment(key), result: result?.json, limits });
  } finally {
    display?.done();
    for (const model of opened) model.destroy();
  }
}

/** The images that were marked of an original: without those that were held back. */
const originalOf = async (original: Dataset, marked: string | undefined): Promise<Dataset> =>
  marked === undefined ? original : await withoutHeldBack(original, marked);

type OpenNetwork = (path: string, overrides?: ConfigOverrides) => Promise<Model | undefined>;

/** The marking network. Another's file is a failed check, and is not run. */
async function modelOf(path: string, key: Key, network: OpenNetwork): Promise<NonNullable<Evidence['model']>> {
  const bytes = await readBytes(path);
  const sha256 = hashBytes(bytes);
  if (sha256 !== key.model.sha256) return { path, sha256 };
  const overrides = key.model.network as ConfigOverrides | undefined;
  return { path, sha256, file: await parseModelFile(bytes, path, overrides), network: await network(path, overrides) };
}

async function suspectOf(
  { model: path, network: overrides, classes }: NonNullable<VerificationFiles['suspect']>,
  key: Key,
  result: Result | undefined,
  network: OpenNetwork,
): Promise<NonNullable<Evidence['suspect']>> {
  const bytes = await readBytes(path);
  const sha256 = hashBytes(bytes);
  // As the test took it; what else is said on the command line is for files that say nothing themselves.
  const taken = { ...overrides, ...recordedNetwork(result) };
  const { contradicted } = await parseModelFile(bytes, path, taken);
  const model = await network(path, taken);
  if (!model) return { path, sha256, contradicted };
  const { numClasses } = model.config;
  if (classes === undefined) {
    const single = isSingleLogit(numClasses, key.classes.length);
    return {
      path,
      sha256,
      network: model,
      contradicted,
      ...(single && { classes: ClassMapping.ownOrder(key.classes, numClasses, path) }),
    };
  }
  const { classes: names } = await readClasses(classes, 'train', {});
  const mapping = ClassMapping.byName(key.classes, { names, file: classes }, numClasses, path);
  return { path, sha256, network: model, classes: mapping, contradicted };
}

async function probesOf(path: string) {
  const opened = await openProbes(path);
  return { manifest: opened.manifest, sha256: opened.sha256, dataset: await openProbeImages(opened) };
}
