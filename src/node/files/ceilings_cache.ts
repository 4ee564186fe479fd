import { createHash } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import os from 'node:os';
import { join } from 'node:path';
import * as v from 'valibot';
import { positive } from '../../formats/fields.ts';
import type { Device } from '../../gpu/device.ts';
import { type Ceilings, measureCeilings, requireTimestamps } from '../../profiling/ceilings.ts';
import code from '../../profiling/ceilings.wgsl?raw';
import { writeAtomic } from './write.ts';

const entrySchema = v.object({ adapter: v.string(), measuredAt: v.string(), gflops: positive, gbps: positive });

/** Ceilings with when they were measured, in ISO 8601. */
export interface CachedCeilings extends Ceilings {
  readonly measuredAt: string;
}

/**
 * The adapter's ceilings from `folder`, measured and kept there where they are missing, damaged or `remeasure` asks for it.
 * Throws AdapterError where the adapter takes no timestamps.
 */
export async function cachedCeilings(
  device: Device,
  { folder, remeasure }: { readonly folder: string; readonly remeasure: boolean },
): Promise<CachedCeilings> {
  requireTimestamps(device);
  const path = join(folder, `ceilings-${identityOf(device)}.json`);
  const known = remeasure ? undefined : await readEntry(path);
  if (known) return known;
  const entry = { adapter: device.name, measuredAt: new Date().toISOString(), ...(await measureCeilings(device)) };
  try {
    await mkdir(folder, { recursive: true });
    await writeAtomic(path, new TextEncoder().encode(`${JSON.stringify(entry, undefined, 2)}\n`));
  } catch {
    // A folder that cannot be written costs a second each time, nothing else.
  }
  return entry;
}

/** Where a user's programs keep what they can make again: a folder of this program's own there. */
export function userCacheFolder(): string {
  const { XDG_CACHE_HOME, LOCALAPPDATA } = process.env;
  const home = os.homedir();
  const usual =
    process.platform === 'win32'
      ? LOCALAPPDATA || join(home, 'AppData', 'Local')
      : join(home, process.platform === 'darwin' ? 'Library/Caches' : '.cache');
  return join(XDG_CACHE_HOME || usual, 'radioactive');
}

/** Adapter, driver and what is measured; a software adapter is the processor it runs on. */
function identityOf({ info, capabilities }: Device): string {
  const { vendor, architecture, device, description } = info;
  const processor = capabilities.software ? [os.cpus()[0]?.model, os.availableParallelism()] : [];
  const identity = JSON.stringify([vendor, architecture, device, description, ...processor, code]);
  return createHash('sha256').update(identity).digest('hex').slice(0, 16);
}

/** `undefined` where there is nothing usable: the cache can be made again. */
async function readEntry(path: string): Promise<CachedCeilings | undefined> {
  try {
    return v.parse(entrySchema, JSON.parse(await readFile(path, 'utf8')));
  } catch {
    return undefined;
  }
}
