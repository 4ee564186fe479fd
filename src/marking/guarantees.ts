/** What a key's file rules out by itself, whoever made it, and what it leaves to trust. */

import { describeBeacon, drandRoundTime } from './beacon.ts';
import { awaitsBeacon, type Key } from './key.ts';

/** One property of a key. */
export interface KeyGuarantee {
  readonly name:
    | 'bound'
    | 'beacon'
    | 'one draw'
    | 'subspace'
    | 'choice of images'
    | 'test images'
    | 'references'
    | 'scores';
  readonly holds: boolean;
  /** One sentence: what it rules out, or what its lack allows. */
  readonly detail: string;
}

/** What drawing again gains whoever can do so. */
const GAIN = 'whoever draws 2^n times gains n bits, so that log10 p may be too small by 0.301 n';

/**
 * What a key rules out and what it does not, each as a named property. It looks at the key alone: whether its commitment was published
 * before the beacon, and how many other keys its owner has, no file can tell.
 */
export function keyGuarantees(key: Key): readonly KeyGuarantee[] {
  const bound = key.version >= 4;
  const { carriers, statistic, heldOut } = key;
  const guarantees: KeyGuarantee[] = [
    bound
      ? {
          name: 'bound',
          holds: true,
          detail:
            'carriers, decoys and orders follow from the secret and everything else in the key: none of it can be fitted to them',
        }
      : {
          name: 'bound',
          holds: false,
          detail: `in a key of version ${key.version} carriers follow from the secret alone: the marking network or the subspace could be fitted to them, which gives any p-value on any model`,
        },
    beaconGuarantee(key),
    oneDraw(key),
  ];
  if (carriers.kind === 'subspace')
    guarantees.push(
      carriers.vanilla
        ? {
            name: 'subspace',
            holds: true,
            detail: `the key names the ${carriers.vanilla.count} images that its subspace was found on, sha256 ${carriers.vanilla.sha256}: with them anybody can compute it again`,
          }
        : {
            name: 'subspace',
            holds: false,
            detail: 'the key does not say on which images its subspace was found: nobody can compute it again',
          },
    );
  guarantees.push(
    bound
      ? { name: 'choice of images', holds: true, detail: 'which images are marked follows from the secret' }
      : {
          name: 'choice of images',
          holds: false,
          detail:
            'which images are marked follows from a seed or from a classifier, not from the secret: others can find them',
        },
    heldOut?.kind === 'content'
      ? {
          name: 'test images',
          holds: true,
          detail: `the key names the ${heldOut.count} images to test on by their content, sha256 ${heldOut.sha256}`,
        }
      : {
          name: 'test images',
          holds: false,
          detail: heldOut
            ? `the key only says ${JSON.stringify(heldOut.name)} of the images to test on: they could be chosen later`
            : 'the key leaves open which images to test on: they could be chosen later',
        },
  );
  if (statistic.kind === 'black-box')
    guarantees.push(
      statistic.references
        ? {
            name: 'references',
            holds: true,
            detail: `the key names the reference models by their files: ${statistic.references.length}`,
          }
        : {
            name: 'references',
            holds: false,
            detail: 'the key leaves the reference models open: they could be chosen, or made, to suit a suspect',
          },
      statistic.scores
        ? {
            name: 'scores',
            holds: true,
            detail: `the key says what suspects are asked for: ${statistic.scores === 'labels' ? 'the predicted class' : 'scores of all classes'}`,
          }
        : {
            name: 'scores',
            holds: false,
            detail:
              'the key does not say whether suspects are asked for scores or for the predicted class: it could be chosen later',
          },
    );
  return guarantees;
}

function beaconGuarantee(key: Key): KeyGuarantee {
  const { beacon } = key;
  if (!beacon)
    return {
      name: 'beacon',
      holds: false,
      detail: `no public randomness is mixed in: the owner could have drawn keys until one suited a model or what all models have in common; ${GAIN}`,
    };
  const randomness = describeBeacon(beacon);
  if (awaitsBeacon(key))
    return { name: 'beacon', holds: false, detail: `the key has no carriers yet: it waits for ${randomness}` };
  if (beacon.kind === 'drand' && drandRoundTime(beacon.round) <= key.created)
    return {
      name: 'beacon',
      holds: false,
      detail: `${randomness}, is mixed in, which was known when the key was made, ${key.created}: the owner could have drawn keys until one suited; ${GAIN}`,
    };
  return {
    name: 'beacon',
    holds: true,
    detail:
      beacon.kind === 'time-stamp'
        ? `${randomness} is mixed in, which nobody knows before the authority has given it`
        : `${randomness}, is mixed in, which nobody chose or knew before; the commitment must have been there by then, which a time stamp of it proves`,
  };
}

function oneDraw(key: Key): KeyGuarantee {
  if (key.beacon?.kind === 'drand' && beaconGuarantee(key).holds)
    return {
      name: 'one draw',
      holds: true,
      detail:
        'the round was fixed with the key: if its commitment was there before the round, it has one draw. Other keys of the owner, committed to before the round, are not counted',
    };
  return {
    name: 'one draw',
    holds: false,
    detail:
      key.beacon?.kind === 'time-stamp'
        ? `the commitment can be stamped again, and each stamp is another draw that only the authority counts; ${GAIN}`
        : `nothing limits how many keys were drawn; ${GAIN}`,
  };
}
