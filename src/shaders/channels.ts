/**
 * How kernels over channels-last tensors take their channels: in fours where they come in fours, else one by one. `Channels` is
 * the type, `Bits` the unsigned integers of its size.
 */
export function channelsOf(C: number): { width: number; constants: { Channels: string; Bits: string } } {
  return C % 4 === 0
    ? { width: 4, constants: { Channels: 'vec4f', Bits: 'vec4u' } }
    : { width: 1, constants: { Channels: 'f32', Bits: 'u32' } };
}
