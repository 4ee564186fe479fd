/**
 * Characters that are not allowed in XML, that make text look like another, or that move what is on a screen: control characters (C0,
 * DEL, C1), those that turn the direction of writing, those without width, line and paragraph separators, and halves of surrogate pairs.
 */
const INVISIBLE = /[\p{Cc}\p{Cs}\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff]/gu;

/**
 * A text with its invisible characters written out, like `\u202e`: what comes from files can neither hide in it nor repaint a screen.
 * Of a JSON text it is the same value.
 *
 * @param keep characters that stay as they are, such as line breaks.
 */
export const printable = (text: string, keep = ''): string =>
  text.replaceAll(INVISIBLE, (character) =>
    keep.includes(character) ? character : `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
