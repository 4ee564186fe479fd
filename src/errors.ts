import { printable } from './formats/printable.ts';

/**
 * Errors a user can do something about. `message` is one line: what is wrong, which file or tensor, what to do;
 * characters that would break it, or that nobody would see, are written out, whatever file they come from.
 * `exitCode` is the command line's: 2 usage, 3 bad input, 4 no adapter or a module missing, 5 device lost, out of memory or disk full, 6 integrity.
 */
export class RadioactiveError extends Error {
  /** The class. Written out in each, since minifiers rename classes. */
  override readonly name: string = 'RadioactiveError';
  /** The command line's. */
  readonly exitCode: number;
  constructor(message: string, exitCode: number, options?: ErrorOptions) {
    super(printable(message), options);
    this.exitCode = exitCode;
  }
}

/** The command line was used wrongly. */
export class UsageError extends RadioactiveError {
  override readonly name: string = 'UsageError';

  constructor(message: string, options?: ErrorOptions) {
    super(message, 2, options);
  }
}

/** A file, a data set or an argument holds something that cannot be worked with. */
export class InputError extends RadioactiveError {
  override readonly name: string = 'InputError';

  constructor(message: string, options?: ErrorOptions) {
    super(message, 3, options);
  }
}

/** No usable WebGPU adapter. */
export class AdapterError extends RadioactiveError {
  override readonly name: string = 'AdapterError';

  constructor(message: string, options?: ErrorOptions) {
    super(message, 4, options);
  }
}

/** A module that only some uses need, as `webgpu` or `sharp`, is not installed or cannot be loaded on this machine. */
export class MissingModuleError extends RadioactiveError {
  override readonly name: string = 'MissingModuleError';

  constructor(message: string, options?: ErrorOptions) {
    super(message, 4, options);
  }
}

/** The device was lost or has too little memory: the same command can be tried again (on another device, or with less). */
export class DeviceError extends RadioactiveError {
  override readonly name: string = 'DeviceError';

  constructor(message: string, options?: ErrorOptions) {
    super(message, 5, options);
  }
}

/** Two things that must belong together do not: a key and its marking network, a manifest and its images. */
export class IntegrityError extends RadioactiveError {
  override readonly name: string = 'IntegrityError';

  constructor(message: string, options?: ErrorOptions) {
    super(message, 6, options);
  }
}
