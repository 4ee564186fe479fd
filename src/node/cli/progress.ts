import { printable } from '../../formats/printable.ts';
import { type Screen, Terminal } from './terminal.ts';

/** A running count that is shown. */
export interface Progress {
  /** Tells how much is done, of the total given at the start, and how long the rest will take where that is not what the rate says. */
  update(done: number, secondsLeft?: number): void;
  /** Ends the display; also right after an error, where it shows how far things got. */
  done(): void;
}

/** How progress appears: one self-overwriting line, plain lines, JSON lines, not at all. */
export type ProgressStyle = 'bar' | 'lines' | 'json' | 'silent';

/** The rate covers the last so many milliseconds: what counts for the time left is how fast things go now. */
const RATE_WINDOW_MS = 10_000;
/** Least time between two displays. First and last are always shown. */
const INTERVAL_MS = { bar: 100, lines: 5_000, json: 1_000, silent: Infinity } as const satisfies Record<
  ProgressStyle,
  number
>;

/** Everything for people on stderr: progress and remarks, without one overwriting the other. `now` is in milliseconds. */
export class Reporter {
  readonly #terminal: Terminal;
  readonly #style: ProgressStyle;
  readonly #now: () => number;
  /** The bar on the screen, to be put back after a remark. */
  #bar = '';

  constructor(screen: Screen, style: ProgressStyle, now: () => number = () => performance.now()) {
    this.#terminal = new Terminal(screen);
    this.#style = style;
    this.#now = now;
  }

  /** A line above the bar. */
  log(line: string): void {
    if (this.#style !== 'silent') this.error(printable(line, '\t'));
  }

  /** A line that appears even where the reporter is silent. */
  error(line: string): void {
    this.#terminal.print(`${line}\n${this.#bar}`, { over: this.#bar !== '' });
  }

  /** Leaves the bar as it is and goes on below it. */
  close(): void {
    if (this.#bar) this.#terminal.print('\n');
    this.#bar = '';
  }

  progress(named: string, total: number, unit: string): Progress {
    const title = printable(named);
    const start = this.#now();
    const recent = [{ at: start, done: 0 }];
    let shownAt = -Infinity;
    let current = 0;
    let left: number | undefined;
    const show = (): void => {
      const now = this.#now();
      if (now - shownAt < INTERVAL_MS[this.#style]) return;
      shownAt = now;
      this.#show(title, current, total, unit, rateOf(recent), left);
    };
    show();
    return {
      update: (done, secondsLeft) => {
        current = done;
        left = secondsLeft;
        const now = this.#now();
        recent.push({ at: now, done });
        while (recent.length > 2 && recent[1].at < now - RATE_WINDOW_MS) recent.shift();
        // The end is shown by done().
        if (done < total) show();
      },
      done: () => {
        if (this.#style === 'json') this.#show(title, current, total, unit, rateOf(recent), left);
        else this.#end(`${title}: ${current}/${total} ${unit} in ${duration((this.#now() - start) / 1000)}`);
      },
    };
  }

  #show(
    title: string,
    done: number,
    total: number,
    unit: string,
    rate: number | undefined,
    secondsLeft: number | undefined,
  ): void {
    const etaSeconds = secondsLeft ?? (rate ? (total - done) / rate : undefined);
    if (this.#style === 'json') {
      const progress = { title, done, total, rate: rate ?? null, etaSeconds: etaSeconds ?? null };
      this.#terminal.print(`${JSON.stringify({ progress })}\n`);
      return;
    }
    const text = [
      `${title}: ${done}/${total} ${unit}`,
      ...(rate === undefined ? [] : [`${significant(rate)} ${unit}/s`]),
      ...(etaSeconds === undefined ? [] : [`${duration(etaSeconds)} left`]),
    ].join(', ');
    if (this.#style === 'lines') this.#terminal.print(`${text}\n`);
    if (this.#style === 'bar') {
      const width = 20;
      const filled = total > 0 ? Math.min(width, Math.round((width * done) / total)) : width;
      const line = `${'#'.repeat(filled)}${'.'.repeat(width - filled)} ${text}`;
      this.#bar = line.slice(0, this.#terminal.columns - 1);
      this.#terminal.print(this.#bar, { over: true });
    }
  }

  #end(line: string): void {
    if (this.#style !== 'silent') this.#terminal.print(`${line}\n`, { over: this.#bar !== '' });
    this.#bar = '';
  }
}

function rateOf(recent: readonly { at: number; done: number }[]): number | undefined {
  const [first, last] = [recent[0], recent.at(-1)!];
  return last.at > first.at && last.done > first.done
    ? ((last.done - first.done) * 1000) / (last.at - first.at)
    : undefined;
}

/** Three significant digits without an exponent. */
function significant(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

/** `4.2 s`, `3 min 20 s`, `1 h 5 min`. */
export function duration(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}
