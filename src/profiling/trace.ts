import type { ProfiledLaunch } from './profile.ts';

/**
 * Launches as a trace in Chrome's trace event format, which Perfetto (ui.perfetto.dev) and chrome://tracing open: one lane a
 * kernel, the launches in order. Times are medians without the gaps between launches, so each begins where the one before ends.
 */
export function chromeTrace(title: string, launches: readonly ProfiledLaunch[]): object {
  const lanes = [...new Set(launches.map(({ kernel }) => kernel))];
  // Whole nanoseconds: sums of fractions could make neighbours overlap.
  let startNs = 0;
  const events = launches.map(({ label, layer, kernel, variant, timeMs, flops, bytes }) => {
    const ts = startNs / 1000;
    const durationNs = Math.round(timeMs * 1e6);
    startNs += durationNs;
    return {
      name: label,
      cat: kernel,
      ph: 'X',
      ts,
      dur: durationNs / 1000,
      pid: 1,
      tid: lanes.indexOf(kernel) + 1,
      args: { kernel, variant, layer, flops, bytes },
    };
  });
  const name = (ph: string, tid: number, text: string): object => ({
    name: ph,
    ph: 'M',
    pid: 1,
    tid,
    args: { name: text },
  });
  return {
    displayTimeUnit: 'ms',
    traceEvents: [
      name('process_name', 0, title),
      ...lanes.map((kernel, index) => name('thread_name', index + 1, kernel)),
      ...events,
    ],
  };
}
