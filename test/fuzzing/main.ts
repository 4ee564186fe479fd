/**
 * Damaged files through the parsers, from a seed:
 *
 *     npm run fuzz -- [--parser NAME] [--seconds N] [--seed S] [--json]
 *     npm run fuzz -- --parser NAME --seed S --input INDEX
 *
 * Every input must end in a value or in one of this project's errors, within a second for each megabyte and 512 MiB. Each parser has
 * a process of its own: an input that ends it or never ends is found too. A failing input is saved, with the command that repeats it.
 */

import { spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { PARSER_NAMES, PARSERS, type ParserName } from './parsers.ts';
import { fuzzRound, inputOf, MOST_RSS_MIB, type Round, tryInput } from './round.ts';

/** An input that takes longer hangs. */
const PATIENCE_MS = 60_000;

interface Row extends Round {
  readonly parser: ParserName;
  readonly peakRssMiB: number | null;
  /** Where the failing input is, and how it is tried again. */
  readonly saved?: string;
  readonly repeat?: string;
}

const { values } = parseArgs({
  options: {
    parser: { type: 'string' },
    seconds: { type: 'string', default: '10' },
    seed: { type: 'string', default: '0' },
    input: { type: 'string' },
    json: { type: 'boolean', default: false },
    // Of the process that does it.
    place: { type: 'string' },
  },
});

const print = (line: string): unknown => process.stdout.write(`${line}\n`);
const isParser = (name: string): name is ParserName => (PARSER_NAMES as readonly string[]).includes(name);
const wholeNumber = (name: 'seconds' | 'seed' | 'input'): number => {
  const value = Number(values[name]);
  if (!Number.isSafeInteger(value) || value < 0) throw new Error(`--${name}: give a whole number`);
  return value;
};

/** Parses in this process, and writes before each input its number into a file. */
async function work(name: ParserName, place: string): Promise<void> {
  const end = performance.now() + 1000 * wholeNumber('seconds');
  const file = openSync(place, 'w');
  const number = Buffer.alloc(8);
  const round = await fuzzRound(name, {
    seed: wholeNumber('seed'),
    enough: () => performance.now() >= end,
    timed: true,
    begin(index) {
      number.writeDoubleLE(index);
      writeSync(file, number, 0, 8, 0);
    },
  });
  closeSync(file);
  print(JSON.stringify({ ...round, peakRssMiB: Math.round(process.resourceUsage().maxRSS / 1024) }));
}

/** One parser's round in a process of its own. */
async function roundOf(name: ParserName, folder: string): Promise<Row> {
  const place = join(folder, name);
  writeFileSync(place, Buffer.alloc(8));
  const seed = wholeNumber('seed');
  const seconds = wholeNumber('seconds');
  const args = [`--max-old-space-size=${MOST_RSS_MIB}`, process.argv[1], '--parser', name, '--place', place];
  const child = spawn(process.execPath, [...args, '--seconds', `${seconds}`, '--seed', `${seed}`], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  let complaints = '';
  child.stdout.setEncoding('utf8').on('data', (part: string) => {
    output += part;
  });
  child.stderr.setEncoding('utf8').on('data', (part: string) => {
    complaints = (complaints + part).slice(-2000);
  });
  let hangs = false;
  const watch = setTimeout(
    () => {
      hangs = true;
      child.kill('SIGKILL');
    },
    1000 * seconds + PATIENCE_MS,
  );
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  clearTimeout(watch);
  let row: Row;
  if (code === 0) row = { parser: name, ...(JSON.parse(output) as Omit<Row, 'parser'>) };
  else {
    const index = readFileSync(place).readDoubleLE();
    const fault = hangs ? `does not end within ${PATIENCE_MS / 1000} s` : `ends the process: ${complaints.trim()}`;
    row = { parser: name, inputs: index + 1, accepted: 0, worstMs: 0, peakRssMiB: null, failed: { index, fault } };
  }
  if (!row.failed) return row;
  const { index } = row.failed;
  const saved = join(process.cwd(), `fuzz-${name}-${seed}-${index}.bin`);
  writeFileSync(saved, inputOf(PARSERS[name].seeds(), name, seed, index));
  return { ...row, saved, repeat: `npm run fuzz -- --parser ${name} --seed ${seed} --input ${index}` };
}

async function main(): Promise<void> {
  const { parser, place, input, json } = values;
  if (parser !== undefined && !isParser(parser))
    throw new Error(`--parser ${parser}: is none; there are: ${PARSER_NAMES.join(', ')}`);
  if (place !== undefined) return await work(parser!, place);
  if (input !== undefined) {
    if (parser === undefined) throw new Error('--input goes with --parser');
    const start = performance.now();
    const bytes = inputOf(PARSERS[parser].seeds(), parser, wholeNumber('seed'), wholeNumber('input'));
    const { accepted, fault } = await tryInput(PARSERS[parser], bytes);
    print(`${bytes.length} bytes, ${accepted ? 'accepted' : 'refused'}, ${Math.round(performance.now() - start)} ms`);
    if (fault !== undefined) print(fault);
    process.exitCode = fault === undefined ? 0 : 1;
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), 'radioactive-fuzz-'));
  const rows: Row[] = [];
  try {
    if (!json)
      print(
        `${'parser'.padEnd(22)}${'inputs'.padStart(9)}${'accepted'.padStart(10)}${'worst ms'.padStart(10)}${'peak RSS MiB'.padStart(14)}`,
      );
    for (const name of parser === undefined ? PARSER_NAMES : [parser]) {
      const row = await roundOf(name, folder);
      rows.push(row);
      if (json) continue;
      const { inputs, accepted, worstMs, peakRssMiB } = row;
      print(
        `${name.padEnd(22)}${String(inputs).padStart(9)}${String(accepted).padStart(10)}${worstMs.toFixed(0).padStart(10)}${String(peakRssMiB ?? '–').padStart(14)}`,
      );
      if (row.failed)
        print(`  input ${row.failed.index} ${row.failed.fault}\n  saved as ${row.saved}\n  again: ${row.repeat}`);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
  if (json) print(JSON.stringify({ seed: wholeNumber('seed'), rounds: rows }, null, 2));
  process.exitCode = rows.some(({ failed }) => failed) ? 1 : 0;
}

await main().catch((error: Error) => {
  process.stderr.write(`error: ${error.message}\n`);
  process.exitCode = 2;
});
