/** An image file that the page wants marked. */
export interface Order {
  readonly name: string;
  readonly file: Uint8Array<ArrayBuffer>;
}

/** What the worker says. */
export type News =
  | { readonly kind: 'ready'; readonly adapter: string; readonly key: string }
  | { readonly kind: 'progress'; readonly iteration: number; readonly of: number }
  | { readonly kind: 'marked'; readonly png: Uint8Array<ArrayBuffer>; readonly psnr: number }
  | { readonly kind: 'failed'; readonly message: string };
