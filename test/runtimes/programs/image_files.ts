import { decodeImage, encodeImage, UNUSUAL } from 'radioactive/images';
import type { Runtime } from './program.ts';

export type DecodedFiles = Readonly<Record<string, DecodedFile>>;

export type DecodedFile =
  | { readonly width: number; readonly height: number; readonly sha256: string; readonly again: string }
  | { readonly refused: string };

const hex = async (bytes: Uint8Array): Promise<string> =>
  Array.from(new Uint8Array(await crypto.subtle.digest('SHA-256', bytes.slice())), (byte) =>
    byte.toString(16).padStart(2, '0'),
  ).join('');

/** Every image file of test/golden decoded; then encoded as PNG and decoded again. */
export default async function program({ codec, load }: Runtime): Promise<DecodedFiles> {
  const images = await codec();
  const files: Record<string, DecodedFile> = {};
  const expected = JSON.parse(new TextDecoder().decode(await load('images/decoded.json')));
  for (const name of Object.keys(expected)) {
    const file = await load(`images/${name}`);
    try {
      const image = await decodeImage(images, file, name, { accept: UNUSUAL });
      const again = await decodeImage(images, await encodeImage(images, image), `${name}.png`);
      files[name] = {
        width: image.width,
        height: image.height,
        sha256: await hex(image.data),
        again: await hex(again.data),
      };
    } catch (error) {
      files[name] = { refused: String(error) };
    }
  }
  return files;
}
