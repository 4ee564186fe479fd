/**
 * A value as a JSON document, for `--json` and for reports. A number that is not finite, which JSON does not have, becomes the string `-Infinity`,
 * `Infinity` or `NaN`: a p-value of 0 has such a logarithm, and `null` would say that there is none.
 */
export const jsonDocument = (value: unknown): string =>
  `${JSON.stringify(
    value,
    (_, entry: unknown) => (typeof entry === 'number' && !Number.isFinite(entry) ? String(entry) : entry),
    2,
  )}\n`;
