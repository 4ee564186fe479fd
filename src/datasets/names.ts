/** Names of items: their order, and which of them some file systems take for one. */

/** The order of Python's `sorted` on strings: by code points. JavaScript's own goes by UTF-16 units. */
export function compareCodePoints(a: string, b: string): number {
  const shorter = Math.min(a.length, b.length);
  let i = 0;
  while (i < shorter && a.charCodeAt(i) === b.charCodeAt(i)) i++;
  return i === shorter ? a.length - b.length : a.codePointAt(i)! - b.codePointAt(i)!;
}

/** Equal for names that a file system which ignores case and Unicode composition takes for one. */
export function foldCase(name: string): string {
  return name.normalize('NFC').toLowerCase();
}
