/**
 * Files of arrays and weights, from and to bytes. Every length in a file is distrusted, and nothing in it is executed.
 *
 * @module formats
 */

// File formats, from and to bytes.

export { type IdxArray, type ParseIdxOptions, parseIdx, serializeIdx } from './formats/idx.ts';
export { type Matrix, type NpyArray, parseNpy, parseNpyMatrix, serializeNpy } from './formats/npy.ts';
export { type PthFile, parsePth } from './formats/pth.ts';
export {
  parseSafetensors,
  type SafetensorsDtype,
  type SafetensorsFile,
  type SafetensorsTensor,
  serializeSafetensors,
  type TensorData,
  toFloat32,
  toFloat64,
  toInt64Numbers,
} from './formats/safetensors.ts';
