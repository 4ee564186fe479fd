import type { ProgramName } from '../programs/index.ts';
import { runProgram } from './web.ts';
import type { Answer } from './worker.ts';

/** Runs a program in a worker of its own. */
async function runInWorker(name: ProgramName): Promise<string> {
  const worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
  try {
    const answer = await new Promise<Answer>((resolve, reject) => {
      worker.onmessage = ({ data }: MessageEvent<Answer>) => resolve(data);
      worker.onerror = ({ message }) => reject(new Error(message));
      worker.postMessage(name);
    });
    if ('error' in answer) throw new Error(answer.error);
    return answer.result;
  } finally {
    worker.terminate();
  }
}

/** What the test calls. */
export interface RuntimesPage {
  page(name: ProgramName): Promise<string>;
  worker(name: ProgramName): Promise<string>;
}

Object.assign(globalThis, { runtimes: { page: runProgram, worker: runInWorker } satisfies RuntimesPage });
