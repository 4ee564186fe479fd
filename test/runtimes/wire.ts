/**
 * How a program's result comes out of its runtime: JSON, in which typed arrays keep their bits. A number that JSON would turn into
 * null is refused, so that no comparison takes a NaN for a zero.
 */

const ARRAYS = { Float32Array, Float64Array, Uint8Array, Uint32Array };

type TypedArray = InstanceType<(typeof ARRAYS)[keyof typeof ARRAYS]>;

const isTypedArray = (value: unknown): value is TypedArray =>
  ArrayBuffer.isView(value) && value.constructor.name in ARRAYS;

/** Throws where the value holds a number that is not finite, outside of typed arrays. */
export function encodeResult(value: unknown): string {
  return JSON.stringify(value, (key, part: unknown) => {
    if (typeof part === 'number' && !Number.isFinite(part)) throw new Error(`${key} is ${part}`);
    if (!isTypedArray(part)) return part;
    const bytes = new Uint8Array(part.buffer, part.byteOffset, part.byteLength);
    return {
      typedArray: part.constructor.name,
      base64: btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join('')),
    };
  });
}

/** What `encodeResult` was given. */
export function decodeResult(text: string): unknown {
  return JSON.parse(text, (_key, part: unknown) => {
    if (typeof part !== 'object' || part === null || !('typedArray' in part && 'base64' in part)) return part;
    const bytes = Uint8Array.from(atob(part.base64 as string), (character) => character.charCodeAt(0));
    return new ARRAYS[part.typedArray as keyof typeof ARRAYS](bytes.buffer);
  });
}
