import { defaultMarkingRecipe, keyCarriers, Marker } from 'radioactive';
import { Model } from 'radioactive/engine';
import type { Image8 } from 'radioactive/images';
import { derive } from 'radioactive/statistics';
import { fixedKey } from './fixed_key.ts';
import { golden } from './golden.ts';
import { goldenNetwork } from './golden_network.ts';
import { type Runtime, withDevice } from './program.ts';

/** Height and width of the images; the last is grey. */
const SIZES = [
  [32, 32],
  [32, 48],
  [40, 32],
  [36, 30],
  [64, 64],
  [40, 56],
  [33, 35],
  [32, 32],
] as const;

/** Before, and after. */
export type Marked = readonly { readonly image: Image8; readonly marked: Image8 }[];

/** Eight images of several sizes, marked towards the carriers of a key. */
export default async function program({ adapter, load }: Runtime): Promise<Marked> {
  return await withDevice(adapter, async (device) => {
    const { tensors } = await golden(load, 'resnet18_state');
    const model = await Model.load(device, goldenNetwork, tensors, 'resnet18_state');
    const d = model.featureDimension;
    const { directions } = await keyCarriers(await fixedKey(SIZES.length, d));
    const jobs = SIZES.map(([height, width], index) => ({
      id: `image ${index}`,
      image: picture(index, height, width),
      direction: Float32Array.from(directions.subarray(index * d, (index + 1) * d)),
    }));
    const pixels = SIZES.reduce((sum, [height, width]) => sum + height * width, 0);
    const marker = await Marker.create(model, pixels, jobs.length, {
      ...defaultMarkingRecipe(goldenNetwork.inputSize),
      // The network of test/golden was never trained: it takes long steps to move an image.
      learningRate: 30,
      iterations: 10,
    });
    const marked = await marker.mark(jobs);
    marker.destroy();
    model.destroy();
    return jobs.map(({ image }, index) => ({ image, marked: marked[index] }));
  });
}

/** Side of the squares between whose corners levels are interpolated, in pixels. */
const CELL = 8;

/** Soft spots in random colours: the same levels in every runtime, since nothing but products and sums is computed. */
function picture(index: number, height: number, width: number): Image8 {
  const channels = index === SIZES.length - 1 ? 1 : 3;
  const random = derive(0, 'picture', index);
  const [rows, columns] = [Math.ceil(height / CELL) + 1, Math.ceil(width / CELL) + 1];
  const corners = Float64Array.from({ length: rows * columns * channels }, () => random.below(256));
  const data = new Uint8Array(height * width * channels);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      for (let c = 0; c < channels; c++) {
        const [row, column] = [Math.floor(y / CELL), Math.floor(x / CELL)];
        const [v, u] = [(y % CELL) / CELL, (x % CELL) / CELL];
        const corner = (dy: number, dx: number): number => corners[((row + dy) * columns + column + dx) * channels + c];
        const upper = corner(0, 0) * (1 - u) + corner(0, 1) * u;
        const lower = corner(1, 0) * (1 - u) + corner(1, 1) * u;
        data[(y * width + x) * channels + c] = upper * (1 - v) + lower * v;
      }
  return { width, height, channels, data };
}
