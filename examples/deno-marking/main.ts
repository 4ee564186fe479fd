/**
 * deno run --allow-read --allow-write --allow-env main.ts NETWORK CLASS=IMAGE...
 *
 * Marks images in memory with a new key: each `IMAGE` towards its class. Writes `IMAGE.marked.png` and `owner.key`.
 */
import { commitment, createKey, defaultMarkingRecipe, keyCarriers, Marker, serializeKey } from 'radioactive';
import { Model, openCheckedDevice, parseModelFile } from 'radioactive/engine';
import { decodeImage, encodeImage, portableCodec, psnr } from 'radioactive/images';

const [networkFile, ...named] = Deno.args;
const images = named.map((argument) => argument.split('=') as [className: string, file: string]);

const adapter = await navigator.gpu.requestAdapter();
if (!adapter) throw new Error('no WebGPU adapter');
const device = await openCheckedDevice(adapter);
const bytes = await Deno.readFile(networkFile);
const { config, tensors } = await parseModelFile(bytes, networkFile);
const model = await Model.load(device, config, tensors, networkFile);

const key = await createKey({
  classes: [...new Set(images.map(([className]) => className))],
  model: {
    sha256: new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)).toHex(),
    architecture: config.architecture,
    featureDimension: model.featureDimension,
  },
  basis: null,
  centre: true,
});
await Deno.writeTextFile('owner.key', serializeKey(key), { mode: 0o600, createNew: true });
console.log(`owner.key: keep it secret; publish its commitment ${await commitment(key)}`);

const { directions, featureDimension: d } = await keyCarriers(key);
const codec = portableCodec();
for (const [className, file] of images) {
  const image = await decodeImage(codec, await Deno.readFile(file), file);
  const at = key.classes.indexOf(className) * d;
  const marker = await Marker.create(model, image.width * image.height, 1, defaultMarkingRecipe(config.inputSize));
  const direction = Float32Array.from(directions.subarray(at, at + d));
  const [marked] = await marker.mark([{ id: file, image, direction }]);
  marker.destroy();
  await Deno.writeFile(`${file}.marked.png`, await encodeImage(codec, marked));
  console.log(`${file}.marked.png: ${className}, PSNR ${psnr(image, marked).toFixed(1)} dB`);
}
model.destroy();
device.destroy();
