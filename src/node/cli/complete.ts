import { IntegrityError, UsageError } from '../../errors.ts';
import { verifyReply } from '../../evidence/timestamp.ts';
import { describeBeacon } from '../../marking/beacon.ts';
import { keyGuarantees } from '../../marking/guarantees.ts';
import { awaitsBeacon, commitment, completeKey, keyBeacon, serializeKey } from '../../marking/key.ts';
import { readBytes } from '../files/files.ts';
import { PRIVATE_FILE_MODE } from '../files/private_part.ts';
import { writeAtomic } from '../files/write.ts';
import { openKey } from '../runs/inputs.ts';
import { defineCommand } from './command.ts';

export const complete = defineCommand({
  name: 'complete',
  summary: 'Mixes the public randomness that a key waits for into it: from then on it has its carriers',
  options: {
    key: {
      type: 'string',
      value: 'KEY',
      required: true,
      description: 'a key made with keygen --await-beacon; it is rewritten',
    },
    beacon: {
      type: 'string',
      value: 'FILE',
      required: true,
      description:
        "what the key waits for: the authority's reply to its commitment (.tsr), or the round of drand (JSON)",
    },
    ca: {
      type: 'string',
      value: 'FILE.pem',
      description: 'with a time stamp: certificates of the authorities you trust, to check it against first',
    },
  },
  examples: ['--key owner.key --beacon round.json', '--key owner.key --beacon key.tsr --ca authority.pem'],
  async run({ options, log }) {
    const key = await openKey(options.key, { waiting: true });
    const stamped = key.beacon?.kind === 'time-stamp';
    if (options.ca !== undefined && !stamped) throw new UsageError('--ca goes with a key that waits for a time stamp');
    const reply = await readBytes(options.beacon);
    const published = await commitment(key);
    if (stamped && awaitsBeacon(key)) {
      const ca = options.ca === undefined ? undefined : new TextDecoder().decode(await readBytes(options.ca));
      await verifyReply(reply, { fileName: options.beacon, imprint: published, ca });
      if (ca === undefined) log('not checked: whether the time stamp is by an authority you trust; give --ca FILE.pem');
    }
    const completed = await completeKey(key, reply, options.beacon);
    const beacon = await keyBeacon(completed);
    if (!beacon) throw new IntegrityError(`${options.key}: has no beacon`);
    await writeAtomic(options.key, new TextEncoder().encode(serializeKey(completed)), PRIVATE_FILE_MODE);
    return {
      json: {
        key: options.key,
        commitment: published,
        beacon: { ...completed.beacon, time: beacon.time },
        guarantees: keyGuarantees(completed),
      },
      text: [
        `${options.key}: complete, with ${describeBeacon(completed.beacon!)}`,
        `commitment ${published}, as before`,
        `${options.beacon} is in the key now; keep the key secret.`,
      ].join('\n'),
    };
  },
});
