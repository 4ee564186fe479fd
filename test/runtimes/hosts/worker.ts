import type { ProgramName } from '../programs/index.ts';
import { runProgram } from './web.ts';

/** What the worker answers. */
export type Answer = { readonly result: string } | { readonly error: string };

self.onmessage = async ({ data: name }: MessageEvent<ProgramName>) => {
  const answer: Answer = await runProgram(name).then(
    (result) => ({ result }),
    (error: unknown) => ({ error: String(error instanceof Error ? error.stack : error) }),
  );
  self.postMessage(answer);
};
