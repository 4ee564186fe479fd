import { portableCodec } from 'radioactive/images';
import { type ProgramName, programs } from '../programs/index.ts';
import { encodeResult } from '../wire.ts';

/** Runs a program in a page or worker. */
export async function runProgram(name: ProgramName): Promise<string> {
  const program = await programs[name]();
  const result = await program({
    adapter: async () => {
      const adapter = await navigator.gpu.requestAdapter();
      if (!adapter) throw new Error('no adapter');
      return adapter;
    },
    codec: async () => portableCodec(),
    load: async (file) => {
      const response = await fetch(`/inputs/${file}`);
      if (!response.ok) throw new Error(`/inputs/${file}: ${response.status}`);
      return new Uint8Array(await response.arrayBuffer());
    },
  });
  return encodeResult(result);
}
