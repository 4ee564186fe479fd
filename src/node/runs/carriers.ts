/** A test with carriers from a file instead of a key: it is entered in no register. */

import { arraysOf, heldOutFeatures } from '../../detection/detect.ts';
import { type ForeignCarriersResult, testForeignCarriers } from '../../detection/foreign_carriers.ts';
import type { DecodeOptions } from '../../images/decode.ts';
import type { ConfigOverrides } from '../../nn/model_file.ts';
import { readMatrix } from '../files/matrix.ts';
import type { RunContext } from './context.ts';
import { loadHeldOut, openHeldOut, openNetwork, readClasses } from './inputs.ts';
import { openSuspect, type SuspectFiles } from './suspect.ts';

/** What {@link runCarrierTest} is made from. */
export interface CarrierTestFiles {
  /** [K, d], as `readMatrix` takes it: `carriers.pth` of the authors' code, or `.npy`. */
  readonly carriers: string;
  /** The network whose features the carriers are directions of. */
  readonly model: string;
  /** What its file does not say itself. */
  readonly network?: ConfigOverrides | undefined;
  /** Held-out images, none of them marked. */
  readonly data: string;
  readonly split?: 'train' | 'test' | undefined;
  readonly decode?: DecodeOptions | undefined;
  /** The classes in the order of the carriers: `.txt` with one a line, or a data set; default those of `data`. */
  readonly classes?: string | undefined;
  readonly suspect: SuspectFiles;
  readonly freshKeys?: number | undefined;
}

/** What it found, with the SHA-256 of the carriers' file. */
export interface CarrierTest extends ForeignCarriersResult {
  readonly carriers: { readonly path: string; readonly sha256: string; readonly derivedFromKey: false };
  readonly markingModel: { readonly path: string; readonly sha256: string };
  readonly suspect: Readonly<Record<string, string>>;
}

/** Tests a suspect with carriers from a file. Throws InputError where files do not fit each other. */
export async function runCarrierTest(files: CarrierTestFiles, context: RunContext): Promise<CarrierTest> {
  const { progress, signal } = context;
  const { split = 'test', decode = {} } = files;
  const carriers = await readMatrix(files.carriers);
  const named = files.classes === undefined ? undefined : await readClasses(files.classes, 'train', decode);
  const heldOut = await openHeldOut(files.data, { split, decode, ...(named && { classes: named.classes }) });
  const { dataset } = heldOut;
  const { model: marking, sha256 } = await openNetwork(context, files.model, files.network);
  try {
    await loadHeldOut(heldOut, marking.config.channels, progress);
    const opened = await openSuspect(context, files.suspect, dataset.classes, heldOut);
    try {
      const display = progress('features', ('model' in opened.suspect ? 2 : 1) * dataset.length, 'images');
      const features = await heldOutFeatures({
        heldOut,
        marking,
        suspect: opened.suspect,
        onProgress: (done) => display.update(done),
        signal,
      });
      display.done();
      const { freshKeys } = files;
      const found = await testForeignCarriers(carriers, files.carriers, arraysOf(features), dataset.classes, {
        freshKeys,
        signal,
      });
      return {
        ...found,
        carriers: { path: files.carriers, sha256: carriers.sha256, derivedFromKey: false },
        markingModel: { path: files.model, sha256 },
        suspect: opened.record,
      };
    } finally {
      opened.destroy();
    }
  } finally {
    marking.destroy();
  }
}
