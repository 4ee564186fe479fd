/** Adds up where the time of a long piece of work goes, by stage. */
export class Stopwatch {
  readonly #start = performance.now();
  readonly #seconds = new Map<string, number>();

  /** Waits for work that belongs to a stage. A name that ends in `*` says that it goes on beside other stages. */
  async time<T>(stage: string, work: Promise<T>): Promise<T> {
    const start = performance.now();
    try {
      return await work;
    } finally {
      this.#seconds.set(stage, (this.#seconds.get(stage) ?? 0) + (performance.now() - start) / 1000);
    }
  }

  /** Seconds since it was made, and of each stage, in the order they first ended. */
  report(): { readonly total: number; readonly stages: Readonly<Record<string, number>> } {
    const round = (seconds: number): number => Math.round(seconds * 1000) / 1000;
    return {
      total: round((performance.now() - this.#start) / 1000),
      stages: Object.fromEntries([...this.#seconds].map(([stage, seconds]) => [stage, round(seconds)])),
    };
  }
}
