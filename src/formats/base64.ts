/** Bytes at a time: a call takes so many arguments in every runtime. */
const PIECE = 32_768;

/** Bytes as base64 (RFC 4648). */
export function toBase64(bytes: Uint8Array): string {
  let text = '';
  for (let i = 0; i < bytes.length; i += PIECE) text += String.fromCharCode(...bytes.subarray(i, i + PIECE));
  return btoa(text);
}

/** A PNG file as the address of an image in a page that holds it. */
export const pngDataUri = (png: Uint8Array): string => `data:image/png;base64,${toBase64(png)}`;
