import type { Device } from '../../gpu/device.ts';

/** A display of progress: how much of a total is done, and that it is over. */
export interface Display {
  /** Shows how much is done, and how many seconds are left where that is not what the rate says. */
  update(done: number, secondsLeft?: number): void;
  /** Ends the display. */
  done(): void;
}

/** What a run from files to files works with beside them. */
export interface RunContext {
  /** The device, opened when it is first needed; once, however often it is called. */
  openDevice(): Promise<Device>;
  /** Starts a display of progress; `unit` is a plural: `images`. */
  progress(title: string, total: number, unit: string): Display;
  /** A line for people. */
  log(line: string): void;
  /** Ends the work; where it can be resumed, in a state that can be. */
  readonly signal?: AbortSignal | undefined;
}

/** The context of a program that shows nothing. */
export const quietContext = (device: Device, signal?: AbortSignal): RunContext => ({
  openDevice: async () => device,
  progress: () => ({ update: () => undefined, done: () => undefined }),
  log: () => undefined,
  signal,
});

/** A display whose total is told with the count: it is shown from the first one on. */
export interface LateDisplay {
  readonly update: (done: number, total: number) => void;
  /** Ends the display, if it was begun. */
  readonly done: () => void;
}

/** A display that begins with the first count. One that reaches its total ends by itself where `endsFull` says so. */
export function lateDisplay(
  progress: RunContext['progress'],
  title: string,
  unit: string,
  { endsFull = false } = {},
): LateDisplay {
  let display: Display | undefined;
  return {
    update(done, total) {
      display ??= progress(title, total, unit);
      display.update(done);
      if (endsFull && done === total) display.done();
    },
    done: () => display?.done(),
  };
}
