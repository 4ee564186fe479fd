/** Jobs that run one after another. It takes no more than so many: who asks for more is told, and comes again. */
export class Queue {
  /** @type {Set<Promise<unknown>>} */
  #jobs = new Set();
  /** @type {Promise<unknown>} */
  #last = Promise.resolve();

  /** @param {number} capacity jobs that are prepared, wait and run, together */
  constructor(capacity) {
    this.capacity = capacity;
  }

  get length() {
    return this.#jobs.size;
  }

  get full() {
    return this.length >= this.capacity;
  }

  /**
   * Prepares a job beside others, then runs it when its turn comes. The promise ends as the job does.
   * @template P, T
   * @param {() => Promise<P>} prepare
   * @param {(prepared: P) => Promise<T>} run
   * @returns {Promise<T>}
   */
  add(prepare, run) {
    if (this.full) throw new Error('the queue is full');
    const job = prepare().then((prepared) => {
      const turn = this.#last.then(() => run(prepared));
      this.#last = turn.catch(() => {});
      return turn;
    });
    this.#jobs.add(job);
    return job.finally(() => this.#jobs.delete(job));
  }

  /** Waits for the jobs that are there. */
  async drain() {
    await Promise.allSettled(this.#jobs);
  }
}
