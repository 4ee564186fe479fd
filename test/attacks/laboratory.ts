/** Commands in this process, on files of a folder, for those who attack and for whoever verifies. */

import { expect } from 'vitest';
import type { Check } from '../../src/evidence/check.ts';
import type { Device } from '../../src/gpu/device.ts';
import { type Command, parseOptions } from '../../src/node/cli/command.ts';
import { commit } from '../../src/node/cli/commit.ts';
import { complete } from '../../src/node/cli/complete.ts';
import { detect } from '../../src/node/cli/detect.ts';
import { frequencies } from '../../src/node/cli/frequencies.ts';
import { keygen } from '../../src/node/cli/keygen.ts';
import { mark } from '../../src/node/cli/mark.ts';
import { probes } from '../../src/node/cli/probes.ts';
import { report } from '../../src/node/cli/report.ts';
import { verify } from '../../src/node/cli/verify.ts';

const COMMANDS: readonly Command[] = [commit, complete, detect, frequencies, keygen, mark, probes, report, verify];

/** A table of `verify` by the names of its rows; of several of one name the last. */
export type Table = Readonly<Record<string, Check>>;

/** What runs in a folder. */
export interface Laboratory {
  /** Runs a line like `detect --key @owner.key`, in which `@name` is a file of the folder. Returns its document. */
  run(line: string): Promise<Record<string, unknown>>;
  /** Runs `verify` with these options, and expects its exit code. */
  verify(line: string, exitCode: 0 | 6 | 7): Promise<Table>;
}

export function laboratory(folder: () => string, device: () => Device): Laboratory {
  const runCommand = async (line: string) => {
    const [name, ...words] = line.split(' ');
    const command = COMMANDS.find((each) => each.name === name)!;
    return await command.run({
      options: parseOptions(
        command.options,
        words.map((word) => word.replaceAll(/@(?=[a-z])/g, `${folder()}/`)),
      ),
      signal: new AbortController().signal,
      progress: () => ({ update: () => undefined, done: () => undefined }),
      log: () => undefined,
      openDevice: async () => device(),
    });
  };
  return {
    run: async (line) => (await runCommand(line)).json as Record<string, unknown>,
    async verify(line, exitCode) {
      const result = await runCommand(`verify ${line}`);
      expect(result.exitCode ?? 0, result.text).toBe(exitCode);
      const { checks } = result.json as { checks: Check[] };
      return Object.fromEntries(checks.map((check) => [check.check, check]));
    },
  };
}

/** Rows of a table in a state. */
export const inState = (table: Table, state: Check['state']): string[] =>
  Object.values(table).flatMap((row) => (row.state === state ? [row.check] : []));
