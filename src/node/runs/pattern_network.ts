import type { Dataset } from '../../datasets/dataset.ts';
import { hashBytes } from '../../formats/sha256.ts';
import { frequencyModel } from '../../marking/frequency_model.ts';
import { serializeModelFile } from '../../nn/model_file.ts';
import type { NetworkConfig } from '../../nn/networks.ts';
import { requireNewFile } from '../files/files.ts';
import { writeAtomic } from '../files/write.ts';

/** Cosine patterns of a marking network, as many as the experiments had. */
export const DEFAULT_PATTERNS = 48;

/** A marking network in a file. */
export interface PatternNetwork {
  readonly path: string;
  readonly sha256: string;
  readonly network: NetworkConfig;
}

/**
 * Writes the marking network `frequencies` for images like the first of a data set, whose features are cosine patterns: for suspects
 * that learn from pixels. The same bytes every time.
 *
 * @throws InputError where there is a file of that name, or images of that size have not so many patterns
 */
export async function writePatternNetwork(
  path: string,
  like: Dataset,
  patterns = DEFAULT_PATTERNS,
): Promise<PatternNetwork> {
  await requireNewFile(path);
  const { width, height, channels } = await like.shape(0);
  const { network, bytes, sha256 } = patternNetwork({
    inputSize: Math.min(width, height),
    channels,
    numClasses: like.classes.length,
    patterns,
  });
  await writeAtomic(path, bytes);
  return { path, sha256, network };
}

/** The file of that network, in memory. Throws InputError where images of that size have not so many patterns. */
export function patternNetwork(options: Parameters<typeof frequencyModel>[0]) {
  const { config, tensors } = frequencyModel(options);
  const bytes = serializeModelFile({ config, tensors });
  return { network: config, bytes, sha256: hashBytes(bytes) };
}
