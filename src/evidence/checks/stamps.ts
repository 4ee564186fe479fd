/** Time stamps: of what, by whom, and whether in time. */

import { IntegrityError } from '../../errors.ts';
import { fromBase64 } from '../../formats/base64.ts';
import { type Check, failed, notChecked, passed } from '../check.ts';
import { datasetCommitment } from '../commitment.ts';
import type { Evidence, Material, NamedBytes, Stamp } from '../material.ts';
import type { Register } from '../register.ts';
import { stampedHash, type TrustedRoot, verifyReply } from '../timestamp.ts';

export const CA_NEEDED = "the authority's certificate, from the authority itself: --ca FILE.pem";

export const trusted = ({ subject, sha256 }: TrustedRoot): string =>
  `trusted is ${subject}, sha256 ${sha256}, chosen by whoever ran verify`;

/** What may be stamped. The list's entries are named by their number. */
export const STAMPED = {
  key: 'the key',
  marked: 'the marked data set',
  suspect: 'the suspect',
  beginning: 'the list of tests before the first',
} as const;

/** What may have been stamped, by its hash. */
function stampable(
  { marked, suspect }: Evidence,
  keyCommitment: string,
  list: Register | IntegrityError | undefined,
): ReadonlyMap<string, string> {
  const known = new Map<string, string>([[keyCommitment, STAMPED.key]]);
  if (suspect) known.set(suspect.sha256, STAMPED.suspect);
  if (marked) known.set(datasetCommitment(marked.folder), STAMPED.marked);
  // Of a damaged list a row of its own says so.
  if (list && !(list instanceof IntegrityError)) {
    known.set(list.beginning, STAMPED.beginning);
    for (const [i, hash] of list.hashes.entries()) known.set(hash, `the list of tests, up to entry ${i + 1}`);
  }
  return known;
}

/** Reads all replies, with the one that is the key's randomness. What is wrong with one is kept, and no error. */
export async function readStamps(
  evidence: Evidence,
  keyCommitment: string,
  list: Register | IntegrityError | undefined,
): Promise<Stamp[]> {
  const { key, replies = [], ca } = evidence;
  const known = stampable(evidence, keyCommitment, list);
  const read = async ({ path, bytes }: NamedBytes, inKey: boolean): Promise<Stamp> => {
    const imprint = await unlessBroken(() => stampedHash(bytes, path));
    if (imprint instanceof IntegrityError) return { path, of: undefined, imprint, stamp: undefined, inKey };
    const stamp = await unlessBroken(() => verifyReply(bytes, { fileName: path, imprint, ca }));
    return { path, of: known.get(imprint), imprint, stamp, inKey };
  };
  const own =
    key.beacon?.kind === 'time-stamp' && key.beaconReply !== undefined
      ? [await read({ path: 'key: beaconReply', bytes: fromBase64(key.beaconReply) }, true)]
      : [];
  return [...(await Promise.all(replies.map((reply) => read(reply, false)))), ...own];
}

async function unlessBroken<T>(read: () => T | Promise<T>): Promise<T | IntegrityError> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof IntegrityError) return error;
    throw error;
  }
}

/** When trusted authorities saw what, earliest first. */
export function trustedTimes({ stamps }: Pick<Material, 'stamps'>): { readonly of: string; readonly time: string }[] {
  return stamps
    .flatMap(({ of, stamp }) =>
      of !== undefined && stamp && !(stamp instanceof IntegrityError) && stamp.root ? [{ of, time: stamp.time }] : [],
    )
    .sort((a, b) => Date.parse(a.time) - Date.parse(b.time));
}

/** A row for each reply. */
export function checkTimeStamps(material: Material): Check[] {
  const { stamps, replies } = material;
  if (!replies)
    return [notChecked('time stamp', 'none was given', "the authority's replies: --reply FILE.tsr --ca FILE.pem")];
  return stamps.filter(({ inKey }) => !inKey).map((stamp) => checkStamp(stamp, material));
}

function checkStamp({ path, of, imprint, stamp }: Stamp, { marked, result }: Material): Check {
  const name = 'time stamp';
  if (imprint instanceof IntegrityError) return failed(name, imprint.message);
  if (of === undefined) {
    const other = `neither of the key nor of the marked data set or the list of tests that were given${marked ? '' : '; give --marked for a data set'}`;
    return failed(name, `${path}: stamps ${imprint}, ${other}`);
  }
  if (stamp instanceof IntegrityError || !stamp) return failed(name, stamp?.message ?? path);
  const by = `${of} was there at ${stamp.time}, says ${stamp.authority}`;
  const test = result?.value.time;
  const ofList = of.startsWith('the list');
  if (test !== undefined && !ofList && Date.parse(stamp.time) > Date.parse(test))
    return failed(name, `${by}; that is after the test of ${test} and proves nothing about it`);
  const before = ofList ? '' : '; the suspect must be younger than that';
  return stamp.root
    ? passed(name, `${by}${before}; ${trusted(stamp.root)}`)
    : notChecked(name, `${by}${before}; whether to trust that is open`, CA_NEEDED);
}
