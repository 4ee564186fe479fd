import {
  type BlackBoxDetection,
  commitment,
  createKey,
  type DetectionResult,
  defaultMarkingRecipe,
  type Key,
  keyProbeOrders,
  parseProbeManifest,
  testFeatures,
  testScores,
  type WhiteBoxResult,
  whiteBoxTest,
} from 'radioactive';
import { derive } from 'radioactive/statistics';
import { golden } from './golden.ts';
import type { Runtime } from './program.ts';

export interface Detected {
  /** The white-box test on the features, carriers and classifier of test/golden. */
  readonly golden: WhiteBoxResult;
  /** The same features and classifier under a key, beside fresh keys. */
  readonly whiteBox: DetectionResult;
  /** Scores on probes with a trace in them. */
  readonly blackBox: BlackBoxDetection;
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
    whiteBox: await testFeatures(await fixedKey(K, d), featuresMarking, { features, weight }),
    blackBox: await blackBox(),
  };
}

/** A key that is the same at every run. */
async function fixedKey(classCount: number, featureDimension: number, decoys?: number): Promise<Key> {
  const key = await createKey({
    classes: Array.from({ length: classCount }, (_, c) => `class ${c}`),
    model: { sha256: 'ab'.repeat(32), architecture: 'resnet18', featureDimension },
    basis: null,
    centre: true,
    blackBox: decoys
      ? { combine: 'sum', decoys, perClass: PER_CLASS, recipe: defaultMarkingRecipe(64), references: null }
      : undefined,
  });
  return { ...key, secret: '01'.repeat(32), nonce: '02'.repeat(32), created: '2020-01-01T00:00:00.000Z' };
}

const [CLASSES, SETS, PER_CLASS] = [5, 20, 3];

/** A suspect that answers a little more for the true set's images, and a reference that shares the rest of what it says. */
async function blackBox(): Promise<BlackBoxDetection> {
  const key = await fixedKey(CLASSES, 8, SETS - 1);
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
  return await testScores(key, probes, { kind: 'scores', scores: suspect }, [{ kind: 'scores', scores: reference }]);
}
