import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import sharp from 'sharp';
import { createKey, type Key } from '../src/marking/key.ts';
import { derive } from '../src/random.ts';

/** Something like a photograph: smooth colours, edges, noise. RGB, [height, width, 3]. */
export function pictureOf(seed: number, width: number, height: number): Buffer {
  const random = derive(seed, 'photograph');
  const waves = Array.from({ length: 9 }, () => [random.gaussian() / 15, random.gaussian() / 15, 6 * random.uniform()]);
  const edge = random.uniform() * width;
  const data = Buffer.alloc(width * height * 3);
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const light = x + y / 3 < edge ? 40 : -30;
      for (let c = 0; c < 3; c++) {
        let level = 128 + light + 8 * (random.uniform() - 0.5);
        for (let wave = c; wave < 9; wave += 3) {
          const [a, b, phase] = waves[wave];
          level += 25 * Math.sin(a * x + b * y + phase);
        }
        data[to++] = Math.min(255, Math.max(0, level));
      }
    }
  }
  return data;
}

/** A photograph as a file. */
export async function photograph(
  seed: number,
  width: number,
  height: number,
  format: 'jpeg' | 'png' | 'webp',
): Promise<Buffer> {
  const image = sharp(pictureOf(seed, width, height), { raw: { width, height, channels: 3 } });
  return format === 'jpeg' ? image.jpeg({ quality: 90 }).toBuffer() : image[format]().toBuffer();
}

/** Writes files into a folder that is made. Returns its path. */
export function writeTree(root: string, files: Readonly<Record<string, Uint8Array | string>>): string {
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), content);
  }
  return root;
}

/** A folder of two classes with photographs of many sizes and formats. Returns its path. */
export async function writePhotographs(root: string, count: number, largest: number): Promise<string> {
  const formats = ['jpeg', 'png', 'webp'] as const;
  for (let i = 0; i < count; i++) {
    const random = derive(1, 'size', i);
    const [width, height] = [30 + random.below(largest - 29), 30 + random.below(largest - 29)];
    const format = formats[i % 3];
    const extension = { jpeg: i % 2 ? 'jpg' : 'JPEG', png: 'png', webp: 'webp' }[format];
    const name = `${i % 2 ? 'owl' : 'elk'}/${i % 5 === 0 ? 'deep/' : ''}photo ${i}.${extension}`;
    writeTree(root, { [name]: await photograph(i, width, height, format) });
  }
  return root;
}

/** A key for those two classes and a network of width 4, the same each time: carriers follow from all that is in it, so a failure can be had again. */
export async function photographKey(secret: string): Promise<Key> {
  const drawn = await createKey({
    classes: ['elk', 'owl'],
    model: { sha256: 'ab'.repeat(32), architecture: 'resnet18', featureDimension: 32 },
    basis: null,
    centre: true,
  });
  return { ...drawn, secret, nonce: secret, created: '2031-01-02T03:04:05.000Z' };
}
