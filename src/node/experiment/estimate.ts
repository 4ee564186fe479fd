/** How long work of several kinds will take, from how long it took so far. */

/** Work that is planned. */
export interface Job {
  /** What is measured together: all jobs of a kind go at one rate. */
  readonly kind: string;
  /** How much there is of it; between kinds only a rough measure. */
  readonly amount: number;
}

/**
 * Learns a rate for each kind of work. Until a kind has been seen it is taken to go at the rate of all others together. Times are in
 * seconds.
 */
export class Estimate {
  readonly #spent = new Map<string, { seconds: number; amount: number }>();
  readonly #left: number[];
  readonly #jobs: readonly Job[];

  constructor(jobs: readonly Job[]) {
    this.#jobs = jobs;
    this.#left = jobs.map(({ amount }) => amount);
  }

  /** Notes that so much of a job is done by now, and how many seconds passed since the last note. */
  note(job: number, done: number, seconds: number): void {
    const { kind, amount } = this.#jobs[job];
    const spent = this.#spent.get(kind) ?? { seconds: 0, amount: 0 };
    const left = Math.max(0, amount - done);
    spent.seconds += seconds;
    spent.amount += Math.max(0, this.#left[job] - left);
    this.#left[job] = left;
    this.#spent.set(kind, spent);
  }

  /** Leaves out what is left of a job: it was done before. */
  skip(job: number): void {
    this.#left[job] = 0;
  }

  /** Seconds that everything that is left will take; undefined until something is done. */
  get secondsLeft(): number | undefined {
    const all = [...this.#spent.values()];
    const sum = (of: 'seconds' | 'amount'): number => all.reduce((total, each) => total + each[of], 0);
    const overall = sum('amount') > 0 ? sum('seconds') / sum('amount') : undefined;
    if (overall === undefined) return undefined;
    return this.#jobs.reduce((total, { kind }, job) => {
      const spent = this.#spent.get(kind);
      return total + this.#left[job] * (spent && spent.amount > 0 ? spent.seconds / spent.amount : overall);
    }, 0);
  }
}
