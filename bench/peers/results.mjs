/** Arithmetic of the comparison and its table. */

export function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

export const summary = (values) => ({ min: Math.min(...values), median: median(values), max: Math.max(...values) });

/** How many times as long the one took as the other, round by round: both saw the same state of the machine. */
export const ratio = (times, ours) => summary(ours.map((ms, round) => times[round] / ms));

/**
 * Of all that measured something, the times' summary and GFLOP/s; `ratio` of the peer with the shortest median to ours, and to
 * each other implementation.
 *
 * `entries` has { key, timesMs } or { key, error } or { key, unsupported } for every implementation, ours under `ours`; `peers`
 * are the keys that count for the fastest.
 */
export function compareEntries(entries, { ours, peers, flops }) {
  const measured = new Map(entries.filter(({ timesMs }) => timesMs).map((entry) => [entry.key, entry.timesMs]));
  const own = measured.get(ours);
  const ratios = {};
  if (own) for (const [key, times] of measured) if (key !== ours) ratios[key] = ratio(times, own);
  const fastest = peers
    .filter((key) => measured.has(key))
    .reduce((best, key) => (best && median(measured.get(best)) <= median(measured.get(key)) ? best : key), undefined);
  return {
    implementations: Object.fromEntries(
      entries.map(({ key, timesMs, ...rest }) => {
        if (!timesMs) return [key, rest];
        const ms = summary(timesMs);
        return [key, { ms, gflops: flops / ms.median / 1e6, timesMs, ...rest }];
      }),
    ),
    ratios,
    ...(fastest && { fastestPeer: fastest }),
    ...(fastest && own && { ratio: ratios[fastest] }),
  };
}

/** Three significant digits. */
export const short = (value) => (value >= 100 ? value.toFixed(0) : value.toPrecision(3));

const range = ({ min, median, max }) => [short(median), `${short(min)}–${short(max)}`];

/**
 * One line a work: of each implementation median ms and GFLOP/s, then what the ratio columns say. `columns` are { key, title };
 * `ratioOf` gives { ratio, to } of a row or nothing.
 */
export function table(rows, columns, ratioOf, ratioTitle) {
  const notes = [];
  const cell = (result) => {
    if (!result) return ['', ''];
    if (result.ms) return [short(result.ms.median), short(result.gflops)];
    return result.unsupported ? ['–', ''] : ['error', ''];
  };
  const lines = rows.map((row) => {
    for (const { key, title } of columns) {
      const error = row.implementations[key]?.error;
      if (error) notes.push(`${row.work}, ${title}: ${error}`);
    }
    const found = ratioOf(row);
    return [
      row.work,
      ...columns.flatMap(({ key }) => cell(row.implementations[key])),
      ...(found ? [...range(found.ratio), found.to] : ['', '', '']),
    ];
  });
  const head = [
    'float32; ms and GFLOP/s',
    ...columns.flatMap(({ title }) => [title, 'GFLOP/s']),
    ratioTitle,
    'min–max',
    'of',
  ];
  const last = head.length - 1;
  return [...align([head, ...lines], [0, last]), ...(notes.length > 0 ? ['', ...notes] : [])];
}

function align(rows, left) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows.map((row) =>
    row
      .map((text, column) => (left.includes(column) ? text.padEnd(widths[column]) : text.padStart(widths[column])))
      .join('  ')
      .trimEnd(),
  );
}
