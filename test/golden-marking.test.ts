import { expect, it } from 'vitest';
import { recordMarkingStep } from '../src/marking/marker.ts';
import { Model } from '../src/nn/model.ts';
import { packCrops } from '../src/shaders/crop_resize/crop_resize.ts';
import { squaredDistance } from '../src/shaders/squared_distance/squared_distance.ts';
import { Program } from '../src/tensor/program.ts';
import { Tape } from '../src/tensor/tape.ts';
import { Variable } from '../src/tensor/variable.ts';
import { useDevice } from './device.ts';
import { golden } from './golden.ts';
import { nchwToNhwc, nhwcToNchw } from './layout.ts';
import { expectClose } from './tolerance.ts';

const device = useDevice();

interface Attributes {
  radius: number;
  lr: number;
  lambda_ft: number;
  lambda_img: number;
  iterations: number;
  round_every: number;
  size: number;
  mean: number[];
  std: number[];
}

it('follows the marking trajectory of PyTorch: losses and pixels', async () => {
  const baseline = device().liveBytes;
  const file = golden('marking');
  const attributes = JSON.parse(file.metadata.marking) as Attributes;
  const { mean, std } = attributes;
  const config = {
    architecture: 'resnet18',
    width: 8,
    stem: 'imagenet',
    numClasses: 12,
    inputSize: attributes.size,
    channels: 3,
    mean,
    std,
  } as const;
  const model = await Model.load(device(), config, golden('resnet18_state').tensors, 'resnet18_state');
  const [B, C, H, W] = file.shape('image');
  const levels = nchwToNhwc(file.float32('image'), [B, C, H, W]);
  const variable = await Variable.create(device(), 'image', [B, H, W, C], levels);

  const tape = new Tape(device(), { precision: 'f32' });
  const image = tape.variable(variable);
  const original = tape.input('original', [B, H, W, C]);
  const carriers = tape.input('carriers', file.shape('carrier'));
  const crops = tape.input('crops', [B, 5], 'u32');
  const rounding = tape.input('rounding', [1], 'u32');
  // The loss is that before the step: the distance is recorded before the step changes the image.
  const distance = squaredDistance(
    image,
    original,
    std.map((deviation) => 1 / (255 * deviation) ** 2),
  );
  const loss = recordMarkingStep(
    model,
    { image, original, carriers, crops, vanillaCrops: crops, rounding },
    {
      radiusLevels: attributes.radius,
      learningRate: attributes.lr,
      lambdaFeatures: attributes.lambda_ft,
      lambdaImage: attributes.lambda_img,
    },
  );
  const program = await Program.build(device(), tape, { name: 'marking', outputs: [loss, distance], guard: true });
  program.write(original, levels);
  program.write(carriers, file.float32('carrier'));
  const drawn = new BigInt64Array(file.tensors.get('crops')!.data.slice().buffer);
  const losses: number[] = [];
  for (let iteration = 0; iteration < attributes.iterations; iteration++) {
    const rows = Array.from({ length: B }, (_, b) => {
      const [top, left, height, width, flip] = [
        ...drawn.subarray((iteration * B + b) * 5, (iteration * B + b + 1) * 5),
      ].map(Number);
      return { top, left, height, width, flip: flip === 1 };
    });
    program.write(crops, packCrops(rows, new Array(B).fill({ height: H, width: W })));
    program.write(rounding, Uint32Array.of(iteration % attributes.round_every === 0 ? 1 : 0));
    await program.run();
    const perImage = await program.read(loss);
    const distances = await program.read(distance);
    losses.push(perImage.reduce((sum, value, b) => sum + value + attributes.lambda_img * distances[b], 0));
    const snapshot = { 0: 'pixels_after_first', 4: 'pixels_after_5' }[iteration];
    if (snapshot)
      expectClose(nhwcToNchw(await variable.read(), [B, H, W, C]), file.float32(snapshot), 1 / 255, snapshot);
  }
  await program.checkGuards();
  const expected = file.float32('loss');
  losses.forEach((value, i) => {
    // The first loss is 0: nothing has moved yet.
    const allowed = 1e-2 * Math.max(Math.abs(expected[i]), 1e-3);
    expect(Math.abs(value - expected[i]), `loss ${i}: ${value} against ${expected[i]}`).toBeLessThanOrEqual(allowed);
  });
  const pixels = nhwcToNchw(await variable.read(), [B, H, W, C]);
  const final = file.float32('pixels_final');
  const near = pixels.reduce((count, value, i) => count + Number(Math.abs(value - final[i]) <= 1), 0);
  expect(near / pixels.length, 'share of pixels within one level').toBeGreaterThanOrEqual(0.99);
  expect(
    pixels.some((value, i) => value !== Math.fround(levels[i])),
    'the image has changed',
  ).toBe(true);
  program.destroy();
  variable.destroy();
  model.destroy();
  expect(device().liveBytes).toBe(baseline);
});
