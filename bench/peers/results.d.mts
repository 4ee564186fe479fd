// Types of results.mjs, for its test.

export interface Summary {
  min: number;
  median: number;
  max: number;
}

export interface Entry {
  key: string;
  timesMs?: number[];
  firstRunMs?: number;
  error?: string;
  unsupported?: string;
}

export interface Compared {
  implementations: Record<string, Omit<Entry, 'key'> & { ms?: Summary; gflops?: number }>;
  ratios: Record<string, Summary>;
  fastestPeer?: string;
  ratio?: Summary;
}

export function median(values: readonly number[]): number;
export function summary(values: readonly number[]): Summary;
export function ratio(times: readonly number[], ours: readonly number[]): Summary;
export function compareEntries(
  entries: readonly Entry[],
  options: { ours: string; peers: readonly string[]; flops: number },
): Compared;
export function short(value: number): string;
export function table<Row extends Compared & { work: string }>(
  rows: readonly Row[],
  columns: readonly { key: string; title: string }[],
  ratioOf: (row: Row) => { ratio: Summary; to: string } | undefined,
  ratioTitle: string,
): string[];
