import { parseSafetensors, type SafetensorsFile, toFloat32, toFloat64, toInt64Numbers } from 'radioactive/formats';
import type { Runtime } from './program.ts';

export interface GoldenFile extends SafetensorsFile {
  float32(tensor: string): Float32Array;
  float64(tensor: string): Float64Array;
  integers(tensor: string): number[];
  shape(tensor: string): readonly number[];
}

/** Ground truth from PyTorch, see test/golden/README.md. */
export async function golden(load: Runtime['load'], name: string): Promise<GoldenFile> {
  const file = `${name}.safetensors`;
  return parseGolden(await load(file), file);
}

/** @param file for messages. */
export function parseGolden(bytes: Uint8Array, file: string): GoldenFile {
  const parsed = parseSafetensors(bytes, file);
  const get = (tensor: string) => {
    const found = parsed.tensors.get(tensor);
    if (!found) throw new Error(`${file} has no ${tensor}`);
    return found;
  };
  return {
    ...parsed,
    float32: (tensor) => toFloat32(get(tensor)).slice(),
    float64: (tensor) => toFloat64(get(tensor)).slice(),
    integers: (tensor) => toInt64Numbers(get(tensor)),
    shape: (tensor) => get(tensor).shape,
  };
}
