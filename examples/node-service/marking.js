import { readFile } from 'node:fs/promises';
import { checkKeyMatches, defaultMarkingRecipe, keyCarriers, Marker, parseKey } from 'radioactive';
import { decodeImage, encodeImage } from 'radioactive/images';
import { nodeCodec, openDevice, openModel } from 'radioactive/node';

/**
 * A device, a model and a key made ready to mark.
 * @param {string} modelFile
 * @param {string} keyFile
 */
export async function openMarking(modelFile, keyFile) {
  const device = await openDevice();
  const { model, sha256 } = await openModel(device, modelFile);
  const key = await parseKey(await readFile(keyFile, 'utf8'), keyFile);
  checkKeyMatches(key, { modelSha256: sha256, classes: key.classes });
  const { directions, featureDimension } = await keyCarriers(key);
  const recipe = defaultMarkingRecipe(model.config.inputSize);
  const codec = await nodeCodec();
  return {
    classes: key.classes,
    adapter: device.name,

    /**
     * From an image file to a marked PNG file. An image of more than `maxPixels` is refused before it is decoded.
     * @param {Uint8Array} file
     * @param {string} className one of `classes`
     * @param {{ readonly maxPixels: number, readonly signal: AbortSignal }} options
     */
    async mark(file, className, { maxPixels, signal }) {
      const image = await decodeImage(codec, file, 'the image', { maxPixels });
      const at = key.classes.indexOf(className) * featureDimension;
      const direction = Float32Array.from(directions.subarray(at, at + featureDimension));
      const marker = await Marker.create(model, image.width * image.height, 1, recipe);
      try {
        const [marked] = await marker.mark([{ id: crypto.randomUUID(), image, direction }], { signal });
        return await encodeImage(codec, marked);
      } finally {
        marker.destroy();
      }
    },

    close() {
      model.destroy();
      device.destroy();
    },
  };
}
