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

/** Names of parts of a data set, which class folders seldom have. */
const SPLIT = /^(?:train|training|val|valid|validation|dev|test|testing)$/i;

/** Whether a class is called like a part of a data set. */
export const isSplit = (name: string): boolean => SPLIT.test(name);

/** Whether class names are those of parts of a data set: then somebody gave the folder above the classes. */
export const areSplits = (classes: readonly string[]): boolean => classes.every(isSplit);

/** What to say of classes that are named like parts of a data set; undefined for others. */
export const splitsWarning = (path: string, classes: readonly string[]): string | undefined =>
  areSplits(classes)
    ? `${path}: its classes are ${classes.join(', ')}: if these are parts of the data set, give the folder of one of them`
    : undefined;

/** Where a name is among others in another Unicode composition (é as one character or as two), what to say; empty elsewhere. */
export function compositionHint(name: string, names: readonly string[]): string {
  const twin = names.find((other) => other !== name && other.normalize('NFC') === name.normalize('NFC'));
  if (twin === undefined) return '';
  const form = (each: string): string => (each === each.normalize('NFC') ? 'NFC' : 'NFD');
  return ` (which differs from ${JSON.stringify(twin)} only in Unicode composition, ${form(name)} for ${form(twin)})`;
}
