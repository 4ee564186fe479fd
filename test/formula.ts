/** Numbers from a name, as golden networks' weights and images are made: FNV-1a, then a linear congruence, in float64. */
export function formula(name: string, size: number, value: (t: number) => number): Float32Array {
  let x = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) x = Math.imul(x ^ byte, 0x01000193) >>> 0;
  const values = new Float32Array(size);
  for (let i = 0; i < size; i++) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    values[i] = value(x / 2 ** 32);
  }
  return values;
}
