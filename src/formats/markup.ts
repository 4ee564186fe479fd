/** HTML and SVG from templates in which every text is escaped, so that none can be forgotten. */

import { printable } from './printable.ts';

/** A piece of HTML or XML. */
export class Markup {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
  toString(): string {
    return this.text;
  }
}

/** What may stand in a template: nothing at all for null, undefined and false. */
export type Piece = Markup | string | number | null | undefined | false | readonly Piece[];

/** ``markup`<p title="${title}">${text}</p>` ``: texts are escaped, other markup goes in as it is, lists one after another. */
export function markup(strings: TemplateStringsArray, ...pieces: readonly Piece[]): Markup {
  let text = strings[0];
  for (const [i, piece] of pieces.entries()) text += textOf(piece) + strings[i + 1];
  return new Markup(text);
}

function textOf(piece: Piece): string {
  if (piece === null || piece === undefined || piece === false) return '';
  if (piece instanceof Markup) return piece.text;
  if (typeof piece === 'object') return piece.map(textOf).join('');
  return escapeMarkup(String(piece));
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** A text for HTML and XML, also in attributes. Characters that nobody would see are written out, like `\u202e`. */
export const escapeMarkup = (text: string): string =>
  printable(text, '\n\t').replaceAll(/[&<>"']/g, (character) => ENTITIES[character]);
