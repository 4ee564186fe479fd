/**
 * Lines of a table as text.
 *
 * @param left columns whose cells stand to the left; the others, numbers, to the right.
 * @param indent spaces before each line.
 */
export function textTable(
  rows: readonly (readonly string[])[],
  { left = [0], indent = 0 }: { readonly left?: readonly number[] | 'all'; readonly indent?: number } = {},
): string[] {
  const count = Math.max(0, ...rows.map((row) => row.length));
  const widths = Array.from({ length: count }, (_, column) =>
    rows.reduce((widest, row) => Math.max(widest, row[column]?.length ?? 0), 0),
  );
  const isLeft = (column: number): boolean => left === 'all' || left.includes(column);
  return rows.map((row) =>
    `${' '.repeat(indent)}${row
      .map((cell, column) => (isLeft(column) ? cell.padEnd(widths[column]) : cell.padStart(widths[column])))
      .join('  ')}`.trimEnd(),
  );
}
