/** One estimate of the time left over all steps of a run that is made of others. */

import { Estimate, type Job } from '../experiment/estimate.ts';
import type { RunContext } from '../runs/context.ts';

/** A step of a run: the display that it shows begins with its title. */
export interface Step extends Job {
  readonly title: string;
}

/**
 * A context whose displays say which of all steps they are, and how long all that is left will take. A step that was done in an earlier
 * run shows nothing, and is left out when one after it begins.
 */
export function inSteps(context: RunContext, steps: readonly Step[]): RunContext {
  const estimate = new Estimate(steps);
  let next = 0;
  return {
    ...context,
    progress(title, total, unit) {
      const step = steps.findIndex((each, index) => index >= next && title.startsWith(each.title));
      if (step < 0) return context.progress(title, total, unit);
      for (let before = next; before < step; before++) estimate.skip(before);
      next = step + 1;
      const display = context.progress(`${step + 1}/${steps.length} ${title}`, total, unit);
      let last = performance.now();
      const note = (share: number): void => {
        const now = performance.now();
        estimate.note(step, steps[step].amount * share, (now - last) / 1000);
        last = now;
      };
      return {
        update(done) {
          note(total > 0 ? done / total : 1);
          display.update(done, estimate.secondsLeft);
        },
        done() {
          note(1);
          display.done();
        },
      };
    },
  };
}
