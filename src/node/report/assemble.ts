/** A report from files. */

import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { IntegrityError } from '../../errors.ts';
import { RESULT_NAME, type StoredResult } from '../../evidence/result.ts';
import { parseVerification, type Verification } from '../../evidence/verification.ts';
import { describeMarked, type MarkedSources } from '../../report/marked.ts';
import { reportPage } from '../../report/page.ts';
import { makeReport } from '../../report/report.ts';
import type { Report } from '../../report/schema.ts';
import { arrayName } from '../evidence/arrays.ts';
import { readRegister } from '../evidence/register.ts';
import { readResult } from '../evidence/result.ts';
import { exists, fileError, readBytes } from '../files/files.ts';
import { hashFile } from '../files/write.ts';
import { nodeCodec } from '../images/codec.ts';

/** What a report is made from: files, and what was read of them. */
export interface ReportSources {
  readonly result: StoredResult;
  /** Where the list of tests with the key is. */
  readonly register?: string | undefined;
  /** Of how many images are shown, the default is `shownByDefault`. */
  readonly marked?: (Omit<MarkedSources, 'codec' | 'count'> & { readonly count?: number | undefined }) | undefined;
  readonly verification?: Verification | undefined;
  /** See `ReportInput`. */
  readonly full?: boolean | undefined;
}

/** How many marked images a report shows, unless told otherwise. */
export const DEFAULT_SHOWN = 8;
/** The marking network whose features are patterns of pixels: an image less its original is nearly its carrier. */
export const PATTERNS = 'frequencies';

/**
 * How many marked images are shown beside their originals where nobody says how many: with a key for patterns none, since from a few
 * pairs the carriers can be computed.
 */
export const shownByDefault = ({ value }: StoredResult): number =>
  value.markingModel.architecture === PATTERNS ? 0 : DEFAULT_SHOWN;

/**
 * Makes a report and its page from a result and the files around it.
 *
 * @throws IntegrityError if they contradict each other; InputError if one cannot be read.
 */
export async function assembleReport(sources: ReportSources): Promise<{ report: Report; page: string }> {
  const { result, register, marked, verification, full } = sources;
  const { keyCommitment } = result.value;
  const described =
    marked &&
    (await describeMarked(
      { ...marked, count: marked.count ?? shownByDefault(result), codec: await nodeCodec() },
      keyCommitment,
    ));
  const report = makeReport({
    result,
    files: await findFiles(result),
    register: register === undefined ? undefined : await readRegister(register, keyCommitment),
    marked: described?.marked,
    originalPath: marked?.original?.path,
    verification,
    full,
  });
  return { report, page: reportPage(report, described?.pictures) };
}

/**
 * A result from its file, or from the folder that `detect --save` made.
 *
 * @throws InputError if there is none.
 */
export async function openEvidence(path: string): Promise<StoredResult> {
  let folder: boolean;
  try {
    folder = (await stat(path)).isDirectory();
  } catch (error) {
    throw fileError(path, error);
  }
  return await readResult(folder ? join(path, RESULT_NAME) : path);
}

/** Reads a verification's file. */
export async function readVerification(path: string): Promise<Verification> {
  return parseVerification(new TextDecoder().decode(await readBytes(path)), path);
}

/** The arrays that a result was made from: whether they are beside it, unchanged. */
async function findFiles({ path, value }: StoredResult): Promise<Report['files']> {
  const files: Report['files'] = [];
  for (const [name, sha256] of Object.entries(value.saved ?? {})) {
    const file = join(dirname(path), arrayName(name, path));
    const found = await exists(file);
    if (found && (await hashFile(file)) !== sha256)
      throw new IntegrityError(
        `${file}: its SHA-256 is not the one in ${path}; restore it, or remove it for a report without`,
      );
    files.push({ name, sha256, found });
  }
  return files;
}
