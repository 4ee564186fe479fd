import {
  type BlackBoxFinding,
  ClassMapping,
  commitment,
  type Dataset,
  keyProbeOrders,
  ModelScores,
  parseProbeManifest,
  testFeatures,
  testScores,
  VanillaImages,
  type WhiteBoxFinding,
  type WhiteBoxResult,
  whiteBoxTest,
} from 'radioactive';
import { derive } from 'radioactive/statistics';
import { fixedKey } from './fixed_key.ts';
import { type GoldenFile, golden } from './golden.ts';
import type { Runtime } from './program.ts';

export interface Detected {
  /** The white-box test on the features, carriers and classifier of test/golden. */
  readonly golden: WhiteBoxResult;
  /** The same features and classifier under a key, beside fresh keys. */
  readonly whiteBox: WhiteBoxFinding;
  /** Scores on probes with a trace in them. */
  readonly blackBox: BlackBoxFinding;
}

/** Both tests from numbers that are the same everywhere: what features and scores a device gives is tested elsewhere. */
export default async function program({ load }: Runtime): Promise<Detected> {
  const file = await golden(load, 'detection');
  const [n, d] = file.shape('features_marking');
  const dt = file.shape('features_suspect')[1];
  const [K] = file.shape('weight');
  const [featuresMarking, features, weight] = ['features_marking', 'features_suspect', 'weight'].map(file.float64);
  const directions = file.float64('carriers');
  return {
    golden: whiteBoxTest({
      featuresMarking,
      featuresSuspect: features,
      n,
      d,
      dt,
      weight,
      carriers: { classCount: K, dimension: d, featureDimension: d, coordinates: directions, basis: null, directions },
      centre: true,
    }),
    whiteBox: await whiteBox(file),
    blackBox: await blackBox(),
  };
}

/** The white-box test of the features and the classifier of test/golden, under a key. */
export async function whiteBox(file: GoldenFile): Promise<WhiteBoxFinding> {
  const [n, d] = file.shape('features_marking');
  const [K] = file.shape('weight');
  const key = await fixedKey(K, d);
  return await testFeatures(
    key,
    {
      images: VanillaImages.check(nothingButNames(n, key.classes), []),
      marking: file.float64('features_marking'),
      suspect: {
        classes: ClassMapping.ownOrder(key.classes, K, 'the suspect'),
        features: file.float64('features_suspect'),
        weight: file.float64('weight'),
      },
      // These features and weights were drawn: they know nothing of the images.
    },
    { despite: ['classes'] },
  );
}

/** The images that the features are of, which nobody looks at again. */
function nothingButNames(length: number, classes: readonly string[]): Dataset {
  const gone = (): never => {
    throw new Error('there are only features');
  };
  return {
    path: 'held-out',
    root: '',
    classes,
    length,
    labels: Uint32Array.from({ length }, (_, i) => i % classes.length),
    id: (index) => `${index}.png`,
    shape: gone,
    image: gone,
    bytes: gone,
  };
}

const [CLASSES, SETS, PER_CLASS] = [5, 20, 3];

/** A suspect that answers a little more for the true set's images, and a reference that shares the rest of what it says. */
async function blackBox(): Promise<BlackBoxFinding> {
  const key = await fixedKey(CLASSES, 8, { decoys: SETS - 1, perClass: PER_CLASS });
  const random = derive(0, 'scores');
  const matrix = (): number[][] =>
    Array.from({ length: CLASSES }, () => Array.from({ length: SETS }, () => 1 + random.uniform()));
  const probes = parseProbeManifest(
    JSON.stringify({
      format: 'radioactive-probes',
      version: 1,
      source: { layout: 'folder', count: 100, sha256: 'cd'.repeat(32) },
      keyCommitment: await commitment(key),
      options: {},
      classes: key.classes,
      sets: SETS,
      layout: 'folder',
      images: key.classes.flatMap((name) =>
        Array.from({ length: PER_CLASS }, (_, i) => ({ class: name, id: `${name}/${i}` })),
      ),
      sha256: 'ef'.repeat(32),
      marks: { changeLevels: matrix(), gain: matrix() },
    }),
    'probes.json',
  );
  const orders = await keyProbeOrders(key, SETS);
  const rows = CLASSES * PER_CLASS * (SETS + 1);
  const reference = Float64Array.from({ length: rows * CLASSES }, () => random.uniform());
  const suspect = reference.map((score) => score + random.uniform() / 2);
  for (let c = 0; c < CLASSES; c++) {
    const place = orders[c].indexOf(0);
    for (let i = 0; i < PER_CLASS; i++) suspect[((c * PER_CLASS + i) * (SETS + 1) + 1 + place) * CLASSES + c] += 0.5;
  }
  const [tested, innocent] = [suspect, reference].map((scores) => ModelScores.ofScores(scores, CLASSES));
  return await testScores(key, probes, tested, [innocent], { despite: ['classes'] });
}
