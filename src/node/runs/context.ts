import type { Device } from '../../gpu/device.ts';

/** A display of progress: how much of a total is done, and that it is over. */
export interface Display {
  /** Shows how much is done. */
  update(done: number): void;
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
