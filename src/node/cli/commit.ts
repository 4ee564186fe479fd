import { merkleRoot } from '../../datasets/merkle.ts';
import { IntegrityError, UsageError } from '../../errors.ts';
import { datasetCommitment } from '../../evidence/commitment.ts';
import { timeStampRequest, verifyReply } from '../../evidence/timestamp.ts';
import { commitment, type Key } from '../../marking/key.ts';
import { openMarked } from '../evidence/marked.ts';
import { readRegister } from '../evidence/register.ts';
import { readBytes, requireNewFile } from '../files/files.ts';
import { writeAtomic } from '../files/write.ts';
import { openKey } from '../runs/inputs.ts';
import { defineCommand } from './command.ts';

export const commit = defineCommand({
  name: 'commit',
  summary:
    'Asks an authority to stamp the time on the commitment of a key, of a marked data set or of the list of tests (RFC 3161), and checks its reply',
  options: {
    key: { type: 'string', value: 'KEY', required: true, description: 'the key file' },
    marked: {
      type: 'string',
      value: 'OUT',
      description: 'a data set marked with it: its commitment instead, which covers the key',
    },
    register: {
      type: 'string',
      value: 'FILE',
      description:
        "the key's list of tests: what it holds so far instead. Before the first test, beside the key's, it shows later that there is no other list",
    },
    output: { type: 'string', short: 'o', value: 'FILE.tsq', description: 'the request to write' },
    reply: { type: 'string', value: 'FILE.tsr', description: "the authority's reply, to check" },
    request: {
      type: 'string',
      value: 'FILE.tsq',
      description: 'the request that it answers; default the reply with the ending .tsq',
    },
    ca: {
      type: 'string',
      value: 'FILE.pem',
      description: 'certificates of the authorities you trust, to check it against',
    },
  },
  examples: [
    '--key owner.key -o key.tsq',
    '--key owner.key --register owner.key.register.jsonl -o register.tsq',
    '--key owner.key --marked images-to-publish -o data.tsq',
    '--key owner.key --reply key.tsr --ca authority.pem',
  ],
  async run({ options }) {
    const { output, reply, request, ca } = options;
    if ((output === undefined) === (reply === undefined))
      throw new UsageError('give -o FILE.tsq to write a request, or --reply FILE.tsr to check a reply');
    if (reply === undefined && (request !== undefined || ca !== undefined))
      throw new UsageError('--request and --ca go with --reply');
    if (output !== undefined) await requireNewFile(output);
    const key = await openKey(options.key, { waiting: true });
    if (options.marked !== undefined && options.register !== undefined)
      throw new UsageError('--marked and --register are stamped each by itself');
    const { of, imprint, flag } = await toStamp(key, options);
    const again = `radioactive commit --key ${options.key}${flag}`;
    if (output !== undefined) {
      await writeAtomic(output, timeStampRequest(imprint));
      const answer = `${output.replace(/\.tsq$/, '')}.tsr`;
      const send = `curl -H 'Content-Type: application/timestamp-query' --data-binary @${output} URL-OF-THE-AUTHORITY -o ${answer}`;
      return {
        json: { of, commitment: imprint, request: output, send },
        text: [
          `commitment ${imprint} of the ${of}`,
          `${output} asks for a time stamp on it, and holds nothing else. Send it to an authority and keep both files:`,
          `  ${send}`,
          'Then check the reply:',
          `  ${again} --reply ${answer} --ca CERTIFICATES-OF-THE-AUTHORITY.pem`,
        ].join('\n'),
      };
    }
    const stamp = await verifyReply(await readBytes(reply!), {
      fileName: reply!,
      imprint,
      request: await readBytes(request ?? reply!.replace(/(\.[^./\\]*)?$/, '.tsq')),
      ca: ca === undefined ? undefined : new TextDecoder().decode(await readBytes(ca)),
    });
    return {
      json: { of, commitment: imprint, ...stamp },
      text: [
        `commitment ${imprint} of the ${of}`,
        `was there at ${stamp.time}${stamp.accuracySeconds === null ? '' : ` (within ${stamp.accuracySeconds} s)`}, says ${stamp.authority}, serial ${stamp.serial}`,
        stamp.chain && stamp.root
          ? `its certificate is from an authority of ${ca}: ${stamp.chain.join(' < ')} (sha256 ${stamp.root.sha256})`
          : 'not checked: whether its certificate is from an authority you trust; give --ca FILE.pem',
      ].join('\n'),
    };
  },
});

/** What the options name: its hash, and the flag that names it again. */
async function toStamp(
  key: Key,
  { marked, register }: { readonly marked: string | undefined; readonly register: string | undefined },
): Promise<{ readonly of: string; readonly imprint: string; readonly flag: string }> {
  if (marked !== undefined)
    return { of: 'marked data set', imprint: await markedCommitment(key, marked), flag: ` --marked ${marked}` };
  const keyCommitment = await commitment(key);
  if (register === undefined) return { of: 'key', imprint: keyCommitment, flag: '' };
  const { beginning, hashes } = await readRegister(register, keyCommitment);
  return { of: 'list of tests', imprint: hashes.at(-1) ?? beginning, flag: ` --register ${register}` };
}

async function markedCommitment(key: Key, folder: string): Promise<string> {
  const marked = await openMarked(folder);
  if (marked.manifest.keyCommitment !== (await commitment(key)))
    throw new IntegrityError(`${folder}: was not marked with this key; give the key that it was marked with`);
  if (merkleRoot(marked.manifest.images) !== marked.manifest.merkleRoot)
    throw new IntegrityError(`${folder}: the manifest's Merkle root is not that of its images; restore the manifest`);
  return datasetCommitment(marked);
}
