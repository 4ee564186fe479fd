import { toBase64 } from '../formats/base64.ts';
import { escapeMarkup } from '../formats/markup.ts';
import type { ImageCodec } from './codec.ts';
import { encodeImage } from './decode.ts';
import type { Image8 } from './image.ts';

/** A row of a picture: what stands before it, and an image for each column with what stands under it. */
export interface PictureRow {
  /** Lines of text. */
  readonly label: readonly string[];
  readonly cells: readonly { readonly image: Image8; readonly caption?: string }[];
}

const GAP = 8;
const LABEL = 150;
const HEADER = 28;
const CAPTION = 20;
const LINE = 18;

/**
 * An SVG with a row of images for each of `rows`, under the headings `columns`, in squares of `cell` pixels. Pixels are embedded,
 * lossless, as `codec` encodes them; images that are smaller are enlarged without smoothing as many whole times as fit, larger ones scaled down.
 */
export async function pictureOf(
  columns: readonly string[],
  rows: readonly PictureRow[],
  cell: number,
  codec: ImageCodec,
): Promise<string> {
  const captions = rows.some(({ cells }) => cells.some(({ caption }) => caption)) ? CAPTION : 0;
  const width = LABEL + columns.length * (cell + GAP) + GAP;
  const height = HEADER + rows.length * (cell + captions + GAP) + GAP;
  const left = (column: number): number => LABEL + GAP + column * (cell + GAP);
  const text = (x: number, y: number, content: string, rest = ''): string =>
    `<text x="${x}" y="${y}"${rest}>${escapeMarkup(content)}</text>`;
  const middle = ' text-anchor="middle"';
  const parts = columns.map((heading, column) => text(left(column) + cell / 2, 20, heading, middle));
  for (const [row, { label, cells }] of rows.entries()) {
    const top = HEADER + row * (cell + captions + GAP);
    const lines = label.flatMap((line, i) =>
      wrap(line).map((content) => ({ content, rest: i > 0 ? ' fill="#666"' : '' })),
    );
    for (const [i, { content, rest }] of lines.entries()) parts.push(text(8, top + cell / 2 + i * LINE, content, rest));
    for (const [column, { image, caption }] of cells.entries()) {
      const fits = cell / Math.max(image.width, image.height);
      const scale = fits < 1 ? fits : Math.floor(fits);
      const [width, height] = [scale * image.width, scale * image.height];
      const [x, y] = [left(column) + (cell - width) / 2, top + (cell - height) / 2];
      parts.push(`<image x="${x}" y="${y}" width="${width}" height="${height}" href="${await pngUri(image, codec)}"/>`);
      if (caption) parts.push(text(left(column) + cell / 2, top + cell + 15, caption, `${middle} fill="#666"`));
    }
  }
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="14">`,
    `<style>image { image-rendering: pixelated }</style><rect width="100%" height="100%" fill="#fff"/>`,
    ...parts,
    '</svg>',
    '',
  ].join('\n');
}

/** A long name in lines that fit before a row. */
const wrap = (line: string): string[] => line.match(/.{1,18}/gsu) ?? [''];

/** What changed from `a` to `b`, ten times as strong, around grey. */
export function difference(a: Image8, b: Image8): Image8 {
  const data = a.data.map((level, i) => Math.min(255, Math.max(0, 128 + 10 * (b.data[i] - level))));
  return { width: a.width, height: a.height, channels: a.channels, data };
}

/** An image as it stands in a page, lossless. */
export const pngUri = async (image: Image8, codec: ImageCodec): Promise<string> =>
  `data:image/png;base64,${toBase64(await encodeImage(codec, image))}`;
