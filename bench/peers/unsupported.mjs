/** An implementation cannot do a work; the message says why. */
export class Unsupported extends Error {}
