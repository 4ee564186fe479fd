/** What a revealed key is worth by itself, and with its marking network. */

import { classWeightsInCarriers, recogniseFrequencies } from '../../detection/recognise.ts';
import { IntegrityError } from '../../errors.ts';
import { fromBase64 } from '../../formats/base64.ts';
import { checkBeacon, describeBeacon, drandRoundTime } from '../../marking/beacon.ts';
import { type KeyGuarantee, keyGuarantees } from '../../marking/guarantees.ts';
import { awaitsBeacon, keyCarriers } from '../../marking/key.ts';
import { recomputeSubspace } from '../../marking/keygen.ts';
import { type Check, compared, failed, notChecked, passed } from '../check.ts';
import { type Material, NOTHING } from '../material.ts';
import { verifyReply } from '../timestamp.ts';
import { CA_NEEDED, STAMPED, trusted, trustedTimes } from './stamps.ts';

export function checkCommitment({ published, keyCommitment }: Material): Check[] {
  return [
    published === undefined
      ? notChecked('commitment', `the key's is ${keyCommitment}`, 'what was published: --commitment HEX')
      : compared(
          'commitment',
          published === keyCommitment,
          `the key's is what was published, ${keyCommitment}`,
          `published was ${published}, the key's is ${keyCommitment}`,
        ),
  ];
}

export function checkMarkingNetwork({ key: { model }, model: file }: Material): Check[] {
  return [
    file === undefined
      ? notChecked('marking network', `the key's has sha256 ${model.sha256}`, 'its file: --model MARKER')
      : compared(
          'marking network',
          file.sha256 === model.sha256,
          `sha256 ${file.sha256}`,
          `${file.path} has sha256 ${file.sha256}, the key ${model.sha256}`,
        ),
  ];
}

/** What would show what a key by itself does not. */
const GUARANTEE_NEEDS: Readonly<Record<KeyGuarantee['name'], string>> = {
  bound: `${NOTHING}: keys of version 4 bind all of it`,
  beacon: `${NOTHING}: a key made with keygen --beacon has public randomness mixed in`,
  'one draw': `${NOTHING}: a key made with keygen --beacon drand has one draw`,
  subspace: `${NOTHING}: keys of version 4 name the images`,
  'choice of images': `${NOTHING}: with keys of version 4 it follows from the secret`,
  'test images': `${NOTHING}: a key made with keygen --held-out names them`,
  references: `${NOTHING}: a key made with keygen --reference names them`,
  scores: `${NOTHING}: keys of version 4 say it`,
};

/** What the key itself rules out. How often it was drawn is no check, see `verificationLimits`; the images have a row of their own. */
export async function checkGuarantees(options: Material): Promise<Check[]> {
  const { key } = options;
  const rows: Check[] = [];
  for (const { name, holds, detail } of keyGuarantees(key)) {
    if (name === 'one draw' || (name === 'test images' && options.result)) continue;
    if (!holds) rows.push(notChecked(name, detail, GUARANTEE_NEEDS[name]));
    else if (name === 'subspace') rows.push(await checkSubspace(options, detail));
    else rows.push(name === 'beacon' ? checkBefore(options, detail) : passed(name, detail));
  }
  if (key.carriers.kind === 'uniform')
    rows.push(passed('subspace', 'none: carriers are drawn in the whole feature space'));
  return rows;
}

/** A round of drand has a time: whoever knows it can draw keys until one suits. The key's own word for when it was made proves nothing. */
function checkBefore({ key: { beacon }, stamps }: Material, detail: string): Check {
  if (beacon?.kind !== 'drand') return passed('beacon', detail);
  const round = drandRoundTime(beacon.round);
  const before = trustedTimes({ stamps }).find(
    ({ of, time }) => of === STAMPED.key && Date.parse(time) < Date.parse(round),
  );
  return before
    ? passed('beacon', `${detail}; it was stamped at ${before.time}, the round is of ${round}`)
    : notChecked(
        'beacon',
        `${detail}, and nothing shows that: if the round was known, its owner could have drawn keys until one suited`,
        `a time stamp of the key from before ${round}: --reply FILE.tsr --ca FILE.pem`,
      );
}

/** The subspace again, from the images that the key names. */
async function checkSubspace({ key, model, vanilla, signal }: Material, named: string): Promise<Check> {
  if (!vanilla || !model?.network)
    return notChecked(
      'subspace',
      named,
      'those images and the marking network, on a machine with a GPU: --vanilla DATASET --model MARKER',
    );
  const { sameImages, sine, same } = await recomputeSubspace(key, model.network, vanilla, { signal });
  return compared(
    'subspace',
    same,
    `computed again from the images that the key names: the same, but for an angle whose sine is ${sine.toExponential(1)}`,
    sameImages
      ? `computed again it is another: the sine of the angle between them is ${sine.toPrecision(3)}`
      : 'the images given are not those that the key names',
  );
}

/** Of a stamp that is a key's randomness, the signature. That of a round of drand is checked too: it has no authority to trust. */
export async function checkBeaconStamp({ key, ca, keyCommitment }: Material): Promise<Check[]> {
  if (!key.beacon || key.beaconReply === undefined) return [];
  const name = 'beacon signature';
  const reply = fromBase64(key.beaconReply);
  try {
    await checkBeacon(key.beacon, reply, keyCommitment, 'key: beaconReply');
    if (key.beacon.kind === 'drand') return [passed(name, `that of drand's quicknet: ${describeBeacon(key.beacon)}`)];
    const stamp = await verifyReply(reply, { fileName: 'key: beaconReply', imprint: keyCommitment, ca });
    return [
      stamp.root
        ? passed(name, `${stamp.authority} stamped the commitment at ${stamp.time}; ${trusted(stamp.root)}`)
        : notChecked(
            name,
            `${stamp.authority} stamped the commitment at ${stamp.time}; whether to trust that is open`,
            CA_NEEDED,
          ),
    ];
  } catch (error) {
    if (error instanceof IntegrityError) return [failed(name, error.message)];
    throw error;
  }
}

/** A network of patterns: the published ones leave nothing to choose. */
export function checkPatterns({ key, model }: Material): Check[] {
  if (key.model.architecture !== 'frequencies') return [];
  const tensor = model?.file?.tensors.get('patterns.weight');
  if (!model?.file || !tensor)
    return [
      notChecked('patterns', 'whether they are the published ones is not known', 'the marking network: --model MARKER'),
    ];
  const values = new Float32Array(tensor.data.slice().buffer);
  const { kind, detail } = recogniseFrequencies(values, model.file.config);
  return [
    kind === 'published'
      ? passed('patterns', detail)
      : notChecked(
          'patterns',
          `${kind}: ${detail}`,
          `${NOTHING}: the network that radioactive frequencies makes has the published ones`,
        ),
  ];
}

/** Below this log10 p the marking network's own classes count as lying along the carriers. */
const CLASSES_ALONG_CARRIERS = -4;

/** Whether the marking network's own classes point where the carriers do: then every classifier of these looks marked. */
export async function checkClassWeights({ key, model }: Material): Promise<Check[]> {
  if (awaitsBeacon(key)) return [];
  const name = 'class weights';
  if (!model?.network)
    return [
      notChecked(
        name,
        "whether the marking network's own classes lie along the carriers is not known",
        'the marking network, on a machine with a GPU: --model MARKER',
      ),
    ];
  const weight = await model.network.headWeight();
  const sameClasses = model.network.config.numClasses === key.classes.length;
  const { share, log10p, spanned, spannedExpected } = classWeightsInCarriers(
    await keyCarriers(key),
    weight,
    sameClasses,
  );
  const spans = `they span ${percent(spanned)} of the carriers, by chance ${percent(spannedExpected)}`;
  return [
    compared(
      name,
      log10p > CLASSES_ALONG_CARRIERS,
      `the marking network's own classes do not lie along the carriers (log10 p ${log10p.toFixed(1)}); ${percent(share)} of them is in the space of the carriers, and ${spans}`,
      `the marking network's own classes lie along the carriers (log10 p ${log10p.toFixed(1)}): every classifier of these classes looks marked; ${spans}`,
    ),
  ];
}

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
