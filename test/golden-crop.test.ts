import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parseSafetensors, toFloat32 } from '../src/formats/safetensors.ts';
import { backward } from '../src/shaders/backward.ts';
import { cropResize, packCrops } from '../src/shaders/crop_resize/crop_resize.ts';
import { Program } from '../src/tensor/program.ts';
import { Tape } from '../src/tensor/tape.ts';
import { useDevice } from './device.ts';
import { nchwToNhwc } from './layout.ts';
import { expectClose } from './tolerance.ts';

/** What PyTorch computed: tensors [N, C, H, W], the crop in the metadata. */
const file = 'test/golden/crop_resize.safetensors';
const golden = parseSafetensors(readFileSync(file), file);

interface GoldenCrop {
  readonly top: number;
  readonly left: number;
  readonly height: number;
  readonly width: number;
  readonly out_height: number;
  readonly out_width: number;
  readonly flip: boolean;
}

/** A golden tensor, channels last. */
function read(name: string): { shape: readonly number[]; values: Float32Array } {
  const tensor = golden.tensors.get(name)!;
  const [N, C, H, W] = tensor.shape as [number, number, number, number];
  return { shape: [N, H, W, C], values: nchwToNhwc(toFloat32(tensor), tensor.shape) };
}

describe('crop_resize agrees with PyTorch', () => {
  const device = useDevice();
  for (const [name, json] of Object.entries(golden.metadata)) {
    it(`${name} ${json}`, async () => {
      const crop = JSON.parse(json) as GoldenCrop;
      const [x, y, dy, dx] = [read(`${name}/x`), read(`${name}/y`), read(`${name}/dy`), read(`${name}/dx`)];
      const tape = new Tape(device(), { precision: 'f32' });
      const image = tape.input('x', x.shape);
      const crops = tape.input('crops', [1, 5], 'u32');
      const seed = tape.input('dy', dy.shape);
      const result = cropResize(image, crops, { outHeight: crop.out_height, outWidth: crop.out_width });
      const [gradient] = backward(result, [image], seed);
      const program = await Program.build(device(), tape, { name, outputs: [result, gradient] });
      try {
        program.write(image, x.values);
        program.write(crops, packCrops([crop], [{ height: x.shape[1], width: x.shape[2] }]));
        program.write(seed, dy.values);
        await program.run();
        expectClose(await program.read(result), y.values, 2e-5, 'y');
        expectClose(await program.read(gradient), dx.values, 2e-5, 'dx');
      } finally {
        program.destroy();
      }
    });
  }
});

describe('crop_resize', () => {
  const device = useDevice();
  it('mirrors exactly, forwards and backwards, where the grid is folded beyond 65 535 workgroups', async () => {
    const [H, W] = [2051, 2053];
    const tape = new Tape(device(), { precision: 'f32' });
    const x = tape.input('x', [1, H, W, 1]);
    const crops = tape.input('crops', [1, 5], 'u32');
    const dy = tape.input('dy', [1, H, W, 1]);
    const y = cropResize(x, crops, { outHeight: H, outWidth: W });
    const [dx] = backward(y, [x], dy);
    const program = await Program.build(device(), tape, { name: 'mirror', outputs: [y, dx], guard: true });
    try {
      const values = Float32Array.from({ length: H * W }, (_, index) => (index * 7) % 65537);
      program.write(x, values);
      program.write(dy, values);
      program.write(
        crops,
        packCrops([{ top: 0, left: 0, height: H, width: W, flip: true }], [{ height: H, width: W }]),
      );
      await program.run();
      await program.checkGuards();
      for (const tensor of [y, dx]) {
        const mirrored = await program.read(tensor);
        const wrong = mirrored.findIndex((v, index) => {
          const column = index % W;
          return v !== values[index - column + W - 1 - column];
        });
        expect(wrong, `${tensor.name}: the first element that is off`).toBe(-1);
      }
    } finally {
      program.destroy();
    }
  });
});
