import { readFileSync } from 'node:fs';
import { parseSafetensors, type SafetensorsFile, toFloat32, toFloat64 } from '../src/formats/safetensors.ts';

/** Ground truth from PyTorch, see test/golden/README.md. */
export function golden(name: string): SafetensorsFile & {
  float32(tensor: string): Float32Array;
  float64(tensor: string): Float64Array;
  shape(tensor: string): readonly number[];
} {
  const file = `test/golden/${name}.safetensors`;
  const parsed = parseSafetensors(new Uint8Array(readFileSync(file)), file);
  const get = (tensor: string) => {
    const found = parsed.tensors.get(tensor);
    if (!found) throw new Error(`${file} has no ${tensor}`);
    return found;
  };
  return {
    ...parsed,
    float32: (tensor) => toFloat32(get(tensor)).slice(),
    float64: (tensor) => toFloat64(get(tensor)).slice(),
    shape: (tensor) => get(tensor).shape,
  };
}
