import type { Orientation } from './image.ts';

/** What is refused unless it is asked for: CMYK colours, 16 bits a channel, more than one frame. */
export const UNUSUAL = ['CMYK', '16-bit', 'animated'] as const;
/** One of `UNUSUAL`. */
export type Unusual = (typeof UNUSUAL)[number];

/** The formats that are decoded; `NPY` is an array of levels, which needs no codec. */
export type DecodableFormat = 'PNG' | 'JPEG' | 'WebP' | 'NPY';

/** What a file says of its image before any pixel is decoded. */
export interface ImageHeader {
  readonly format: DecodableFormat;
  /** Pixels, as stored: before the orientation is applied. */
  readonly width: number;
  readonly height: number;
  /** Channels after decoding, without opacity. */
  readonly channels: 1 | 3;
  /** It may have transparent pixels. */
  readonly opacity?: boolean;
  readonly orientation: Orientation;
  readonly unusual?: Unusual;
}

/** Ends the reading of a header. */
export interface Refuse {
  /** The file is damaged: `what` is wrong with it. */
  damaged(what: string): never;
  /** The file may be good, but no codec reads `what` it is; `cure` says what to do. */
  unread(what: string, cure: string): never;
}

/** For files that have been read before: nothing is left to refuse. */
export const ACCEPTED: Refuse = {
  damaged: (what) => {
    throw new Error(what);
  },
  unread: (what) => {
    throw new Error(what);
  },
};
