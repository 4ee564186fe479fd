import type { Image8 } from '../images/image.ts';
import { encodePng } from '../images/sharp.ts';

/** One marked image beside its original. */
export interface Pair {
  readonly label: string;
  readonly original: Image8;
  readonly marked: Image8;
  readonly psnr: number;
}

const CELL = 112;
const GAP = 8;
const LABEL = 150;
const HEADER = 28;

/** An SVG with a row for each image: original, marked, and their difference times ten around grey. Pixels are embedded, unscaled. */
export async function comparePicture(pairs: readonly Pair[]): Promise<string> {
  const width = LABEL + 3 * (CELL + GAP) + GAP;
  const height = HEADER + pairs.length * (CELL + GAP) + GAP;
  const column = (index: number): number => LABEL + GAP + index * (CELL + GAP);
  const headers = ['original', 'marked', 'difference ×10'].map(
    (text, index) => `<text x="${column(index) + CELL / 2}" y="20" text-anchor="middle">${text}</text>`,
  );
  const rows: string[] = [];
  for (const [row, { label, original, marked, psnr }] of pairs.entries()) {
    const y = HEADER + row * (CELL + GAP);
    const images: string[] = [];
    for (const [index, image] of [original, marked, difference(original, marked)].entries()) {
      const file = Buffer.from(await encodePng(image)).toString('base64');
      images.push(
        `<image x="${column(index)}" y="${y}" width="${CELL}" height="${CELL}" href="data:image/png;base64,${file}"/>`,
      );
    }
    rows.push(
      `<text x="8" y="${y + CELL / 2}">${escapeXml(label)}</text>`,
      `<text x="8" y="${y + CELL / 2 + 18}" fill="#666">${psnr.toFixed(1)} dB</text>`,
      ...images,
    );
  }
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="14">`,
    `<style>image { image-rendering: pixelated }</style><rect width="100%" height="100%" fill="#fff"/>`,
    ...headers,
    ...rows,
    '</svg>',
    '',
  ].join('\n');
}

function difference(a: Image8, b: Image8): Image8 {
  return { ...a, data: a.data.map((value, i) => Math.min(255, Math.max(0, 128 + 10 * (b.data[i] - value)))) };
}

const escapeXml = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
