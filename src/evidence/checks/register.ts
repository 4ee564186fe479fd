/** The owner's list of tests, and the order of all times. */

import { IntegrityError } from '../../errors.ts';
import { awaitsBeacon, keyBeacon } from '../../marking/key.ts';
import { type Check, compared, failed, notChecked, passed } from '../check.ts';
import { CLOCKS_MS, timeContradictions } from '../consistency.ts';
import { type Material, NOTHING } from '../material.ts';
import { bonferroni, type Look, type Register } from '../register.ts';
import { hashResult, numberOf, type Result, suspectHash } from '../result.ts';
import { toldLog10P } from '../told.ts';
import { STAMPED, trustedTimes } from './stamps.ts';

/** Seconds between the stamps of a key and of the beginning of its list, that still count as beside each other. */
const BESIDE_S = 86_400;

export function checkRegister({ list }: Material): Check[] {
  if (list === undefined)
    return [notChecked('register', 'none was given', "the owner's list of tests: --register FILE")];
  if (list instanceof IntegrityError) return [failed('register', list.message)];
  const { looks, withKey, begun } = list;
  const tests = looks.length === 1 ? '1 test' : `${looks.length} tests`;
  return [
    compared(
      'register',
      withKey,
      `the owner's list is whole in itself: ${tests} since the key was made, it says`,
      `the owner's list is whole in itself with ${tests}, but was begun on ${begun}, after the key: earlier ones are not in it`,
    ),
  ];
}

/** A list is complete as far as stamps tell: its beginning was stamped beside the key. */
export function checkComplete(material: Material): Check[] {
  const name = 'register complete';
  const { list } = material;
  if (!list || list instanceof IntegrityError || !list.withKey) return [];
  const stamps = trustedTimes(material);
  const beginning = stamps.find(({ of }) => of === STAMPED.beginning);
  const key = stamps.find(({ of }) => of === STAMPED.key);
  const apart =
    beginning && key ? Math.abs(Date.parse(beginning.time) - Date.parse(key.time)) / 1000 : Number.POSITIVE_INFINITY;
  return [
    apart <= BESIDE_S
      ? passed(
          name,
          `its beginning was stamped at ${beginning!.time}, the key at ${key!.time}: no list that was begun later can take its place`,
        )
      : notChecked(
          name,
          beginning && key
            ? `its beginning was stamped at ${beginning.time}, long after or before the key at ${key.time}`
            : "nothing shows that the owner's list was begun with the key: its owner could have begun it anew",
          'time stamps of the key and, beside it, of the beginning of the list: radioactive commit --register before the first test, then --reply and --ca',
        ),
  ];
}

/** All times against each other. They are what the files say: only a time stamp is another's word. */
export async function checkTimes({ key, list, stamps }: Material, value: Result): Promise<Check[]> {
  const beacon = awaitsBeacon(key) ? null : await keyBeacon(key);
  const register = list instanceof IntegrityError ? undefined : list;
  const wrong = timeContradictions(value, { beacon: beacon?.time, register });
  if (register) wrong.push(...stampedTooEarly(stamps, register));
  const { created } = value.key;
  if (created !== key.created)
    wrong.push(`the result says that the key was made at ${created}, the key ${key.created}`);
  return [
    compared(
      'times',
      wrong.length === 0,
      `in order, as the files say them: key ${key.created}${beacon ? `, beacon ${beacon.time}` : ''}, test ${value.time}`,
      wrong.slice(0, 3).join('; '),
    ),
  ];
}

/** An entry that an authority saw before the time it says. */
function stampedTooEarly(stamps: Material['stamps'], { looks, hashes }: Register): string[] {
  return stamps.flatMap(({ imprint, stamp }) => {
    const at = typeof imprint === 'string' ? hashes.indexOf(imprint) : -1;
    if (at < 0 || !stamp || stamp instanceof IntegrityError) return [];
    return Date.parse(looks[at].time) > Date.parse(stamp.time) + CLOCKS_MS
      ? [`entry ${at + 1} of the list is of ${looks[at].time}, and was stamped at ${stamp.time}`]
      : [];
  });
}

/** The result's own place in the list. */
export function checkEntry({ list, result }: Material, value: Result): Check[] {
  if (!list || list instanceof IntegrityError) return [];
  const { looks, hashes } = list;
  const entry = looks[value.register.entry - 1];
  const same =
    entry !== undefined &&
    hashes[value.register.entry - 1] === value.register.sha256 &&
    entry.resultSha256 === hashResult(result!.json) &&
    entry.suspect === suspectHash(value.suspect) &&
    entry.data === value.data.sha256;
  const corrected = bonferroni(numberOf(value.log10p), Math.max(1, looks.length));
  return [
    compared(
      'entry',
      same,
      `the result is entry ${value.register.entry} of ${looks.length}, unchanged; corrected for all of them ${toldLog10P(value.test, corrected)}`,
      entry
        ? `entry ${value.register.entry} is of another result: this one was changed`
        : `the register has no entry ${value.register.entry}`,
    ),
    ...(entry && value.blackBox ? [checkUsedOnce(looks, entry, value.blackBox.probes.sha256)] : []),
  ];
}

/** Whether an earlier result tells which of the probes are true. */
function checkUsedOnce(looks: Register['looks'], { index }: Look, sha256: string): Check {
  const name = 'probes used once';
  const before = looks.find((look) => look.index < index && look.options.probesSha256 === sha256);
  return before
    ? notChecked(
        name,
        `they were used in test ${before.index} before: whoever saw its result could answer accordingly`,
        `${NOTHING}: make new probes for each test`,
      )
    : passed(name, "the owner's list has no test with these probes before");
}
