// Makes three folders of JPEG files of one quality from clothing photographs (github.com/alexeygrigorev/clothing-dataset-small, CC0):
// `images`, 1 000 of its training images, to mark; `other`, for the marking network; `held-out`, with its validation and test images.
// Usage: node scripts/clothing.mjs SOURCE FOLDER [SHORTER_SIDE [QUALITY]]

import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';

const [source, folder, side = '160', quality = '70'] = process.argv.slice(2);
if (folder === undefined) {
  process.stderr.write('usage: node scripts/clothing.mjs SOURCE FOLDER [SHORTER_SIDE [QUALITY]]\n');
  process.exit(2);
}
const MARKED = 1000;
const HELD_OUT = 600;

const listed = (split) =>
  readdirSync(join(source, split))
    .sort()
    .flatMap((name) => {
      const files = readdirSync(join(source, split, name)).sort();
      // Each with its place in its class, from 0 to 1.
      return files.map((file, i) => ({
        path: join(source, split, name, file),
        name,
        file,
        place: (i + 0.5) / files.length,
      }));
    });
/** All classes in the shares that they have. */
const training = listed('train').sort((a, b) => a.place - b.place);
const sets = {
  images: training.slice(0, MARKED),
  other: training.slice(MARKED + HELD_OUT),
  'held-out': [...training.slice(MARKED, MARKED + HELD_OUT), ...listed('validation'), ...listed('test')],
};

sharp.concurrency(1);
for (const [set, items] of Object.entries(sets)) {
  for (const { path, name, file } of items) {
    mkdirSync(join(folder, set, name), { recursive: true });
    const { width, height } = await sharp(path).metadata();
    const size = width < height ? { width: Number(side) } : { height: Number(side) };
    await sharp(path)
      .resize(size)
      .jpeg({ quality: Number(quality), chromaSubsampling: '4:2:0' })
      .toFile(join(folder, set, name, file));
  }
  process.stdout.write(`${join(folder, set)}: ${items.length} images\n`);
}
