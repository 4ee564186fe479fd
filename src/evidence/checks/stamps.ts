/** Time stamps: of what, by whom, and whether in time. */

import { IntegrityError } from '../../errors.ts';
import { fromBase64 } from '../../formats/base64.ts';
import { awaitsBeacon, keyBeacon } from '../../marking/key.ts';
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
export async function checkTimeStamps(material: Material): Promise<Check[]> {
  const { stamps, replies, key } = material;
  if (!replies)
    return [notChecked('time stamp', 'none was given', "the authority's replies: --reply FILE.tsr --ca FILE.pem")];
  const carriers = awaitsBeacon(key) ? null : await keyBeacon(key);
  return stamps.filter(({ inKey }) => !inKey).map((stamp) => checkStamp(stamp, material, carriers?.time));
}

function checkStamp({ path, of, imprint, stamp }: Stamp, material: Material, carriersFrom: string | undefined): Check {
  const name = 'time stamp';
  if (imprint instanceof IntegrityError) return failed(name, imprint.message);
  if (of === undefined) {
    const other = `neither of the key nor of the marked data set or the list of tests that were given${material.marked ? '' : '; give --marked for a data set'}`;
    return failed(name, `${path}: stamps ${imprint}, ${other}`);
  }
  if (stamp instanceof IntegrityError || !stamp) return failed(name, stamp?.message ?? path);
  const by = `${of} was there at ${stamp.time}, says ${stamp.authority}`;
  const inTime =
    of === STAMPED.suspect ? suspectInTime(stamp.time, material, carriersFrom) : beforeTest(of, stamp.time, material);
  if (inTime.wrong !== undefined) return inTime.wrong(name, `${by}; ${inTime.told}`);
  return stamp.root
    ? passed(name, `${by}${inTime.told}; ${trusted(stamp.root)}`)
    : notChecked(name, `${by}${inTime.told}; whether to trust that is open`, CA_NEEDED);
}

/** What a time says, and the row that it makes where it is not in order. */
interface InTime {
  readonly told: string;
  readonly wrong?: (name: string, detail: string) => Check;
}

/** The key and the data set must have been there before the test. The list of tests goes on. */
function beforeTest(of: string, time: string, { result }: Material): InTime {
  if (of.startsWith('the list')) return { told: '' };
  const test = result?.value.time;
  return test !== undefined && Date.parse(time) > Date.parse(test)
    ? { told: `that is after the test of ${test} and proves nothing about it`, wrong: failed }
    : { told: '; the suspect must be younger than that' };
}

/** A suspect that is older than the carriers learned nothing of them; one that may be older than the key may have been at hand for it. */
function suspectInTime(time: string, material: Material, carriersFrom: string | undefined): InTime {
  if (carriersFrom !== undefined && Date.parse(time) < Date.parse(carriersFrom))
    return { told: `the carriers come from randomness of ${carriersFrom}: it cannot have learned them`, wrong: failed };
  const key = trustedTimes(material).find(({ of }) => of === STAMPED.key);
  return key && Date.parse(key.time) < Date.parse(time)
    ? { told: '; the key was there before' }
    : {
        told: 'no stamp shows that the key was there before',
        wrong: (name, detail) => notChecked(name, detail, "a time stamp of the key that is older than the suspect's"),
      };
}
