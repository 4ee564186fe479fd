/** Whether bytes begin like a gzip file. */
export function isGzip(bytes: Uint8Array): boolean {
  return bytes[0] === 0x1f && bytes[1] === 0x8b;
}

/** Compresses bytes to a gzip file without time, name or operating system, so that one machine gives the same bytes twice. */
export async function gzip(bytes: Uint8Array): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const part of transform(bytes, new CompressionStream('gzip'))) parts.push(part);
  const file = concatBytes(parts);
  file.fill(0, 4, 9);
  file[9] = 255;
  return file;
}

/** The content of a gzip file, as it comes; leaving the loop early cancels the rest. Throws where the file is damaged. */
export function gunzip(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  return transform(bytes, new DecompressionStream('gzip'));
}

async function* transform(bytes: Uint8Array, stream: CompressionStream | DecompressionStream) {
  const source = new ReadableStream<Uint8Array<ArrayBuffer>>({
    start(controller) {
      controller.enqueue(bytes as Uint8Array<ArrayBuffer>);
      controller.close();
    },
  });
  const reader = source.pipeThrough(stream).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    // Already closed or failed: nothing is left to cancel, and the loop above has reported why.
    await reader.cancel().catch(() => {});
  }
}

/** One after another. */
export function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}
