/** Runs jobs one after another; takes no more than so many. */
export class Queue {
  #jobs = 0;
  /** @type {Promise<unknown>} */
  #last = Promise.resolve();

  /** @param {number} capacity jobs that run and wait together */
  constructor(capacity) {
    this.capacity = capacity;
  }

  get length() {
    return this.#jobs;
  }

  get full() {
    return this.#jobs >= this.capacity;
  }

  /**
   * Its promise ends as the job does.
   * @template T
   * @param {() => Promise<T>} job
   * @returns {Promise<T>}
   */
  async add(job) {
    if (this.full) throw new Error('the queue is full');
    this.#jobs++;
    const result = this.#last.then(job).finally(() => this.#jobs--);
    this.#last = result.catch(() => {});
    return await result;
  }

  /** Waits for the jobs that are there. */
  async drain() {
    await this.#last;
  }
}
