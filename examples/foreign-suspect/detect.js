// node detect.js KEY HELD-OUT MARKING.npy FEATURES.npy WEIGHT.npy
// Was a model of another framework trained on images marked with KEY? Writes result.json, and counts the test.
import { readFile, writeFile } from 'node:fs/promises';
import { ClassMapping, commitment, concludeTest, hashDataset, InputError, testFeatures } from 'radioactive';
import { parseNpy } from 'radioactive/formats';
import { enterLook, hashFile, openHeldOut, openKey, registerPath } from 'radioactive/node';

const [keyFile, heldOut, ...files] = process.argv.slice(2);
const [marking, features, weight] = await Promise.all(files.map(readMatrix));

const key = await openKey(keyFile);
// Refuses images that the manifest beside them lists as marked: on those an innocent model looks guilty.
const images = await openHeldOut(heldOut, { split: 'test' });
const classes = ClassMapping.ownOrder(key.classes, weight.rows, files[2]);
const suspect = { classes, features: features.values, weight: weight.values };
const finding = await testFeatures(key, { images, marking: marking.values, suspect });

// Nobody sees a result that was not entered in the key's register.
const result = await concludeTest(
  finding,
  {
    key,
    test: 'white-box',
    suspect: { features: files[1], featuresSha256: await hashFile(files[1]), weightSha256: await hashFile(files[2]) },
    data: { path: heldOut, count: images.dataset.length, sha256: await hashDataset(images.dataset) },
    adapter: 'none',
    runtime: process.versions.node,
    command: process.argv.slice(1),
  },
  async (look) => enterLook(registerPath(keyFile), await commitment(key), look),
);
await writeFile('result.json', `${JSON.stringify(result, null, 2)}\n`);
for (const warning of [...result.warnings, ...result.deviations]) console.error(warning);
console.log(
  `log10 p ${result.log10p}, corrected for ${result.register.looks} tests ${result.register.log10pBonferroni}`,
);

/** @param {string} file as `numpy.save` writes it */
async function readMatrix(file) {
  const { shape, data } = parseNpy(await readFile(file), file);
  const values = data instanceof Float32Array || data instanceof Float64Array ? data : undefined;
  if (!values || shape.length !== 2) throw new InputError(`${file}: give a matrix of float32 or float64`);
  return { rows: shape[0], values };
}
