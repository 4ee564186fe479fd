/**
 * A process that runs one implementation (`node child.mjs FILE THREADS [PRECISION]`) and does what its parent asks, one thing at a time:
 * see `Child` in processes.mjs. What libraries print goes to stderr, which the parent keeps for when something fails.
 */
import os from 'node:os';
import { pathToFileURL } from 'node:url';
import { Unsupported } from './unsupported.mjs';

const [file, threads, precision = 'f32'] = process.argv.slice(2);
const prepared = new Map();
let implementation;

const commands = {
  async open() {
    const { open } = await import(pathToFileURL(file).href);
    implementation = await open({ threads: Number(threads), precision });
    return { version: implementation.version, adapter: implementation.adapter };
  },
  async prepare({ id, work }) {
    prepared.set(id, await implementation.prepare(work));
    return { adapter: implementation.adapter };
  },
  /**
   * Lowers the priority of this thread (on Linux priorities are a thread's own). While a promise of Dawn's is pending, its binding
   * for Node polls without rest and takes cores from a software adapter's workers. Not earlier: threads inherit the priority
   * of the one that starts them, and the engine's own compile in the background.
   */
  calm() {
    if (implementation.adapter?.software) os.setPriority(19);
    return {};
  },
  async run({ id, repeats }) {
    const { run } = prepared.get(id);
    let loss;
    const start = performance.now();
    for (let repeat = 0; repeat < repeats; repeat++) loss = await run();
    const ms = (performance.now() - start) / repeats;
    implementation.check?.();
    if (loss !== undefined && !Number.isFinite(loss)) throw new Error(`the loss is ${loss}`);
    return { ms, loss };
  },
  /** Sampled elements; all must be finite, sampled or not. */
  async values({ id, samples }) {
    const values = await prepared.get(id).values();
    implementation.check?.();
    return {
      values: Object.fromEntries(
        Object.entries(samples).map(([name, indices]) => {
          if (!values[name].every(Number.isFinite))
            throw new Error(`wrong result: ${name} has values that are not finite`);
          return [name, indices.map((index) => values[name][index])];
        }),
      ),
    };
  },
  async release({ id }) {
    const { release } = prepared.get(id);
    prepared.delete(id);
    await release();
    return {};
  },
};

process.on('message', async (message) => {
  try {
    process.send(await commands[message.command](message));
  } catch (error) {
    const message = String(error?.message ?? error).split('\n')[0];
    process.send(
      error instanceof Unsupported ? { unsupported: message } : { error: message, exitCode: error?.exitCode },
    );
  }
});
process.on('disconnect', () => process.exit());
