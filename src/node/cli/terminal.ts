import { printable } from '../../formats/printable.ts';

/** What is written to; `process.stderr` is one. */
export interface Screen {
  write(text: string): unknown;
  readonly columns?: number | undefined;
}

/** Goes back to the start of the line and erases it. */
const ERASE_LINE = '\r\x1b[K';

/**
 * The only way of the command line's output to a terminal, a pipe or a log. Whatever a text holds, from files or elsewhere, no character
 * in it moves the cursor, changes colours, turns the direction of writing or hides: it is written out. A JSON document stays the same value.
 */
export class Terminal {
  readonly #screen: Screen;

  constructor(screen: Screen) {
    this.#screen = screen;
  }

  /** Characters in a line; 80 where this is not known. */
  get columns(): number {
    return this.#screen.columns || 80;
  }

  /**
   * @param over first erases the line that the cursor is in.
   */
  print(text: string, { over = false }: { readonly over?: boolean } = {}): void {
    this.#screen.write(`${over ? ERASE_LINE : ''}${printable(text, '\n\t')}`);
  }
}
