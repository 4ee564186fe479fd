/**
 * How often pictures are taken for others by chance, and how often copies are found, of `findOverlap`:
 *
 *     npm run build && node scripts/measure_overlap.mjs --name NAME --published DATASET --held-out DATASET [--queries N] [--copies N]
 *
 * The data sets are folders of class folders, or IDX folders (splits train and test). N images of the second are looked for among all
 * of the first, which were never made from them: what is found is chance, or a picture that is in both. Then N images of the first are
 * changed in each of the ways below and looked for. Prints rows of a table in Markdown.
 */

import { parseArgs } from 'node:util';
import sharp from 'sharp';
import { FingerprintIndex, fingerprint } from '../dist/images.js';
import { subset } from '../dist/index.js';
import { openDataset } from '../dist/node.js';

const { values } = parseArgs({
  options: {
    name: { type: 'string' },
    published: { type: 'string' },
    'held-out': { type: 'string' },
    queries: { type: 'string', default: '10000' },
    copies: { type: 'string', default: '200' },
  },
});

const print = (line) => process.stdout.write(`${line}\n`);
const tell = (line) => process.stderr.write(`${line}\n`);

/** N items of a data set, evenly spread. */
const some = (dataset, n) =>
  subset(
    dataset,
    Array.from({ length: Math.min(n, dataset.length) }, (_, i) =>
      Math.floor((i * dataset.length) / Math.min(n, dataset.length)),
    ),
  );

const prepared = ({ width, height, channels, data }) => sharp(data, { raw: { width, height, channels } });
const back = async (picture) => {
  const { data, info } = await picture.raw().toBuffer({ resolveWithObject: true });
  return { width: info.width, height: info.height, channels: info.channels, data: new Uint8Array(data) };
};
const through = async (image, encode) => back(sharp(await encode(prepared(image)).toBuffer()));
let state = 1;
const random = () => {
  state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
  return state / 0x80000000;
};
const levels = (image, change) => ({
  ...image,
  data: image.data.map((x) => Math.max(0, Math.min(255, Math.round(change(x))))),
});
const cut = (image, left, top, right, bottom) =>
  back(
    prepared(image).extract({
      left,
      top,
      width: image.width - left - right,
      height: image.height - top - bottom,
    }),
  );
const share = (image, part) => [image.width * part, image.height * part].map((x) => Math.max(1, Math.round(x)));

const CHANGES = {
  'the same pixels': async (image) => image,
  mirrored: (image) => back(prepared(image).flop()),
  'turned by 90 degrees': (image) => back(prepared(image).rotate(90)),
  'JPEG 98': (image) => through(image, (x) => x.jpeg({ quality: 98 })),
  'JPEG 75': (image) => through(image, (x) => x.jpeg({ quality: 75 })),
  'JPEG 50': (image) => through(image, (x) => x.jpeg({ quality: 50 })),
  'noise of 1 level': async (image) => levels(image, (x) => x + Math.floor(3 * random()) - 1),
  'noise of 10 levels': async (image) => levels(image, (x) => x + (random() < 0.5 ? -10 : 10)),
  'brighter by 20 %': async (image) => levels(image, (x) => 1.2 * x),
  'gamma 0.8': async (image) => levels(image, (x) => 255 * (x / 255) ** 0.8),
  'one pixel larger': (image) => back(prepared(image).resize(image.width + 1, image.height + 1, { fit: 'fill' })),
  'twice as large': (image) => back(prepared(image).resize(2 * image.width, 2 * image.height, { fit: 'fill' })),
  'half as large': (image) => back(prepared(image).resize(image.width >> 1, image.height >> 1, { fit: 'fill' })),
  'one column cut off': (image) => cut(image, 1, 0, 0, 0),
  'one pixel cut off all around': (image) => cut(image, 1, 1, 1, 1),
  '5 % cut off all around': (image) => {
    const [x, y] = share(image, 0.05);
    return cut(image, x, y, x, y);
  },
  '10 % cut off all around': (image) => {
    const [x, y] = share(image, 0.1);
    return cut(image, x, y, x, y);
  },
  'turned by 5 degrees': (image) => back(prepared(image).rotate(5, { background: 'black' })),
  negative: async (image) => levels(image, (x) => 255 - x),
};

const published = await openDataset(values.published, { split: 'train' });
const heldOut = some(await openDataset(values['held-out'], { split: 'test' }), Number(values.queries));
const start = performance.now();
const prints = [];
for (let i = 0; i < published.length; i++) prints.push(fingerprint(await published.image(i)));
const index = new FingerprintIndex(prints);
const read = performance.now();
let [found, likely] = [0, 0];
for (let i = 0; i < heldOut.length; i++) {
  const match = index.nearest(fingerprint(await heldOut.image(i)));
  if (!match?.same) continue;
  found++;
  if (match.residual > 0.1) likely++;
}
const searched = performance.now();
const percent = (count, of) => `${((100 * count) / of).toFixed(1)} %`;
print(`| ${values.name}: ${heldOut.length} others among ${published.length} | ${percent(found, heldOut.length)} |`);
tell(
  `${likely} of ${found} by standing out; ${((read - start) / 1000).toFixed(0)} s to read, ${((searched - read) / 1000).toFixed(0)} s to search; ${Math.round(process.memoryUsage().rss / 2 ** 20)} MiB`,
);
for (const [name, change] of Object.entries(CHANGES)) {
  const copies = some(published, Number(values.copies));
  let hits = 0;
  for (let i = 0; i < copies.length; i++) {
    const match = index.nearest(fingerprint(await change(await copies.image(i))));
    if (match?.same) hits++;
  }
  print(`| ${values.name}: ${name} | ${percent(hits, copies.length)} |`);
}
