/** A few images of a data set, marked with several radii, as a picture. */

import type { DecodeOptions } from '../../images/decode.ts';
import { type PreviewedMark, previewMarks } from '../../marking/preview.ts';
import { type MarkingRecipe, markingRecipeFor } from '../../marking/recipe.ts';
import type { ConfigOverrides } from '../../nn/model_file.ts';
import { requireNewFile } from '../files/files.ts';
import { writeAtomic } from '../files/write.ts';
import { nodeCodec } from '../images/codec.ts';
import { lateDisplay, type RunContext } from './context.ts';
import { openForMarking, openKey, openMarkingNetwork } from './inputs.ts';
import { UNCHANGED } from './mark.ts';

/** What {@link runPreview} marks, and where the picture goes. */
export interface PreviewFiles {
  readonly key: string;
  readonly model: string;
  readonly network?: ConfigOverrides | undefined;
  readonly data: string;
  readonly split?: 'train' | 'test' | undefined;
  readonly decode?: DecodeOptions | undefined;
  /** In 8-bit levels. */
  readonly radii: readonly number[];
  /** How many images, of all classes in turn. */
  readonly count: number;
  /** What differs from the recipe that goes with the network. */
  readonly recipe?: Partial<MarkingRecipe> | undefined;
  readonly format?: 'PNG' | undefined;
  /** The .svg file. */
  readonly output: string;
}

/** Marks a few images and writes the picture. */
export async function runPreview(files: PreviewFiles, context: RunContext): Promise<readonly PreviewedMark[]> {
  await requireNewFile(files.output);
  const key = await openKey(files.key);
  const dataset = await openForMarking(key, files.data, files);
  const { model } = await openMarkingNetwork(context, files.model, key, dataset, files.network);
  try {
    const display = lateDisplay(context.progress, 'preview', 'marks');
    const { marks, svg } = await previewMarks({
      key,
      model,
      dataset,
      codec: await nodeCodec(),
      radii: files.radii,
      count: files.count,
      recipe: { ...markingRecipeFor(model.config), ...files.recipe },
      ...(files.format && { format: files.format }),
      onProgress: display.update,
      ...(context.signal && { signal: context.signal }),
    });
    display.done();
    await writeAtomic(files.output, new TextEncoder().encode(svg));
    const unchanged = marks.filter(({ psnr }) => psnr === Number.POSITIVE_INFINITY).length;
    if (unchanged > 0) context.log(`${unchanged} of ${marks.length} marks change nothing: ${UNCHANGED}`);
    return marks;
  } finally {
    model.destroy();
  }
}
