/** Files of the code that the paper's authors published: carriers, and images as arrays. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testForeignCarriers } from '../src/detection/foreign_carriers.ts';
import { parseNpy, serializeNpy } from '../src/formats/npy.ts';
import { decodeImage, imageFormat } from '../src/images/decode.ts';
import { parseMatrix } from '../src/nn/matrix_file.ts';
import { openDataset } from '../src/node/datasets/open.ts';
import { openDatasetWriter } from '../src/node/datasets/write.ts';
import { nodePortableCodec } from '../src/node/images/codec.ts';
import { runCarrierTest } from '../src/node/runs/carriers.ts';
import { quietContext } from '../src/node/runs/context.ts';
import { useDevice } from './device.ts';
import { fuzz } from './fuzz.ts';
import { golden } from './golden.ts';
import { writeTree } from './photographs.ts';
import { readBack } from './png.ts';
import { CLASSES, smallNetwork, writeFolder, writeModel } from './small_data.ts';
import { expectClose } from './tolerance.ts';

const device = useDevice();
const bytesOf = (name: string): Uint8Array => new Uint8Array(readFileSync(`test/golden/authors/${name}`));
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'radioactive-authors-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

describe('carriers.pth', () => {
  const names = Array.from({ length: 12 }, (_, c) => `class ${c}`);
  const io = golden('detection');
  const arrays = {
    marking: io.float64('features_marking'),
    suspect: { features: io.float64('features_suspect'), weight: io.float64('weight') },
    n: 1500,
  };

  it('gives what the published test gives', async () => {
    const carriers = await parseMatrix(bytesOf('carriers.pth'), 'carriers.pth');
    expect([carriers.rows, carriers.columns]).toEqual([12, 64]);
    const found = await testForeignCarriers(carriers, 'carriers.pth', arrays, names, { freshKeys: 20 });
    const at = (list: readonly { cosine: number; log10p: number }[], what: 'cosine' | 'log10p') =>
      list.map((each) => each[what]);
    // The carriers are rounded to float32 there.
    expectClose(at(found.perClass, 'cosine'), io.float64('uncentred/cosines'), 1e-6, 'cosines');
    expectClose(at(found.perClass, 'log10p'), io.float64('uncentred/log10p'), 1e-5, 'log10 p');
    expectClose([found.log10p], io.float64('uncentred/fisher_log10p'), 1e-5, 'combined');
    expect(found.perClass.map((each) => each.class)).toEqual(names);
    expect(found.null.log10p).toHaveLength(20);
    expect(found.warnings).toEqual([]);
  });

  it('of any length gives the same, and a warning', async () => {
    const carriers = await parseMatrix(bytesOf('carriers.pth'), 'carriers.pth');
    const test = (data: Float64Array) =>
      testForeignCarriers({ ...carriers, data }, 'c', arrays, names, { freshKeys: 0 });
    const unit = await test(carriers.data);
    const longer = await test(carriers.data.map((x, i) => (i < 64 ? 3 * x : x)));
    expectClose([longer.log10p], [unit.log10p], 1e-12, 'log10 p');
    expect(longer.warnings).toEqual(['1 of 12 carriers do not have length 1, as carriers of the published code have']);
    await expect(test(carriers.data.map((x, i) => (i < 64 ? 0 : x)))).rejects.toThrow('c: row 0 is zero');
  });

  it('is tested from files, and said to be from no key', async () => {
    const at = (name: string) => join(folder, name);
    const carriers = Float32Array.from({ length: 2 * 32 }, (_, i) => (i === 3 || i === 32 + 5 ? 1 : 0));
    writeFileSync(at('carriers.npy'), serializeNpy([2, 32], carriers));
    writeFolder(at('images'), 60);
    writeModel(at('marker.safetensors'));
    writeModel(at('suspect.safetensors'), { seed: 1 });
    writeModel(at('single.safetensors'), { seed: 1, network: { numClasses: 1 } });
    const files = { carriers: at('carriers.npy'), model: at('marker.safetensors'), data: at('images'), freshKeys: 5 };
    const context = quietContext(device());
    const found = await runCarrierTest({ ...files, suspect: { model: at('suspect.safetensors') } }, context);
    expect(found.carriers).toMatchObject({ derivedFromKey: false, sha256: expect.stringMatching(/^[0-9a-f]{64}$/) });
    expect(found.perClass.map((each) => each.class)).toEqual(CLASSES);
    // A single logit for two classes: opposite rows.
    const single = await runCarrierTest({ ...files, suspect: { model: at('single.safetensors') } }, context);
    expect(single.suspect.output).toBe(`the logit of ${CLASSES[1]}`);
    expect(single.perClass).toHaveLength(2);
    writeFileSync(at('fewer.npy'), serializeNpy([1, 32], carriers.subarray(0, 32)));
    const wrong = { ...files, carriers: at('fewer.npy'), suspect: { model: at('suspect.safetensors') } };
    await expect(runCarrierTest(wrong, context)).rejects.toThrow(
      'fewer.npy: is [1, 32], expected [2, 32]; give a carrier',
    );
    expect(smallNetwork.width * 8).toBe(32);
  });
});

describe('images as arrays', () => {
  const image = bytesOf('image.npy');
  const levels = Uint8Array.from({ length: 18 }, (_, i) => 14 * i);

  it('are read and written as they are, beside others and as PNG', async () => {
    const root = writeTree(join(folder, 'arrays'), { 'elk/a.npy': image, 'owl/b.npy': image });
    const dataset = await openDataset(root);
    expect(await dataset.shape(0)).toEqual({ width: 3, height: 2, channels: 3 });
    expect(await dataset.image(0)).toEqual({ width: 3, height: 2, channels: 3, data: levels });
    const writer = await openDatasetWriter(dataset, join(folder, 'written'));
    const changed = { width: 3, height: 2, channels: 3 as const, data: levels.map((x) => x + 1) };
    const [own, other] = [await writer.writeImage(0, await dataset.image(0)), await writer.writeImage(1, changed)];
    expect([own.id, other.id, own.lossy]).toEqual(['elk/a.npy', 'owl/b.npy', undefined]);
    await writer.finish();
    // Both are of NumPy's own header.
    const parsed = parseNpy(new Uint8Array(readFileSync(join(folder, 'written/owl/b.npy'))), 'b.npy');
    expect(parsed).toEqual({ dtype: 'u1', shape: [2, 3, 3], data: changed.data });
    expect(readFileSync(join(folder, 'written/elk/a.npy')).subarray(0, 10)).toEqual(Buffer.from(image).subarray(0, 10));
    const asPng = await openDatasetWriter(dataset, join(folder, 'png'), { format: 'PNG' });
    await asPng.writeImage(0, changed);
    await asPng.copy(1);
    await asPng.finish();
    expect([...readBack(readFileSync(join(folder, 'png/elk/a.npy'))).data]).toEqual([...changed.data]);
  });

  it('damaged are refused in one line', async () => {
    const codec = nodePortableCodec();
    await fuzz((damaged) => decodeImage(codec, damaged, 'fuzz.bin'), image, image.length, 400);
  });

  it('are no arrays of another type or shape, and refused where they are cut', async () => {
    expect(imageFormat(image)).toEqual({ name: 'NPY', decodable: true });
    const others = [
      serializeNpy([2, 3], new Uint8Array(6)),
      serializeNpy([2, 3, 4], new Uint8Array(24)),
      serializeNpy([2, 3, 3], new Float32Array(18)),
    ];
    for (const other of others) expect(imageFormat(other)).toBeUndefined();
    const root = writeTree(join(folder, 'cut'), {
      'elk/a.npy': image,
      'elk/mask.npy': others[0],
      'elk/cut.npy': image.subarray(0, -1),
    });
    const dataset = await openDataset(root);
    expect([dataset.id(0), dataset.id(1), dataset.length]).toEqual(['elk/a.npy', 'elk/cut.npy', 2]);
    expect(dataset.otherFiles).toEqual(['elk/mask.npy']);
    await expect(dataset.image(1)).rejects.toThrow(
      /cut\.npy: damaged NPY: truncated: u1 \[2,3,3\] needs 18 bytes of data, the file has 17; restore it/,
    );
  });
});
