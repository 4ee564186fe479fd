/**
 * Runs one program in Node or Deno: `process.js PROGRAM INPUTS native|dawn`. The result goes to stdout as JSON, see `wire.ts`.
 * Native is what the runtime itself has, `navigator.gpu` and the portable codec; Dawn comes from the module webgpu, and sharp with it.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { portableCodec } from 'radioactive/images';
import { listAdapters, nodeCodec, openGpu } from 'radioactive/node';
import { type ProgramName, programs } from '../programs/index.ts';
import { encodeResult } from '../wire.ts';

const [name, inputs, gpuOf] = process.argv.slice(2);
// Dawn ends with the object it was opened by.
const gpu = gpuOf === 'native' ? navigator.gpu : await openGpu();
const program = await programs[name as ProgramName]();
const result = await program({
  adapter: async () => {
    const [adapter] = gpuOf === 'native' ? [await gpu.requestAdapter()] : await listAdapters(gpu);
    if (!adapter) throw new Error('no adapter');
    return adapter;
  },
  codec: gpuOf === 'native' ? async () => portableCodec() : nodeCodec,
  load: async (file) => new Uint8Array(await readFile(join(inputs, file))),
});
process.stdout.write(encodeResult(result), () => process.exit(0));
