import { ClassMapping } from '../../detection/class_mapping.ts';
import type { Suspect } from '../../detection/detect.ts';
import { InputError } from '../../errors.ts';
import { networkRecord } from '../../evidence/result.ts';
import { hashBytes } from '../../formats/sha256.ts';
import type { VanillaImages } from '../../marking/vanilla.ts';
import type { ConfigOverrides } from '../../nn/model_file.ts';
import { readMatrix } from '../files/matrix.ts';
import type { RunContext } from './context.ts';
import { loadHeldOut, openNetwork, readClasses } from './inputs.ts';

/** A suspect in files: a model that runs here, or what any framework made of the held-out images. */
export type SuspectFiles = {
  /**
   * Names of its outputs in their order, where they are not the key's classes: a `.txt` file with one a line, or a data set. The
   * key's must be among them.
   */
  readonly classes?: string | undefined;
} & (
  | {
      readonly model: string;
      /** What the file does not say itself. */
      readonly network?: ConfigOverrides | undefined;
    }
  | {
      /** [n, dt] what its last layer is given, in the images' order; as `readMatrix` takes them. */
      readonly features: string;
      /** [outputs, dt] its last layer. */
      readonly classifier: string;
    }
);

/** A suspect ready to be tested on held-out images. */
export interface OpenedSuspect {
  readonly suspect: Suspect;
  /** What it is, for the report: files with their SHA-256. */
  readonly record: Readonly<Record<string, string>>;
  destroy(): void;
}

/** Opens a suspect for a key of some classes. Throws InputError where it does not fit these or the images. */
export async function openSuspect(
  context: Pick<RunContext, 'openDevice' | 'progress' | 'log'>,
  files: SuspectFiles,
  classes: readonly string[],
  heldOut: VanillaImages,
): Promise<OpenedSuspect> {
  const named = files.classes === undefined ? undefined : await outputNames(files.classes);
  const mapping = (count: number, suspect: string): ClassMapping =>
    named ? ClassMapping.byName(classes, named, count, suspect) : ClassMapping.ownOrder(classes, count, suspect);
  const single = ({ signs, classes: [first, second] }: ClassMapping) => {
    if (!signs) return {};
    const positive = signs[0] > 0 ? first : second;
    context.log(`one output for two classes: taken for the logit of ${positive}`);
    return { output: `the logit of ${positive}` };
  };
  if (!('model' in files)) {
    const { dataset } = heldOut;
    const features = await readMatrix(files.features);
    const classifier = await readMatrix(files.classifier);
    if (features.rows !== dataset.length)
      throw new InputError(
        `${files.features}: has ${features.rows} rows, ${dataset.path} ${dataset.length} images; give one row per image, in its order`,
      );
    const { rows: outputs, columns } = classifier;
    if (columns !== features.columns) {
      const cure =
        outputs === features.columns
          ? 'give its transpose, [classes, features]'
          : 'give the layer that takes these features';
      throw new InputError(
        `${files.classifier}: is [${outputs}, ${columns}], the features are [${features.rows}, ${features.columns}]; ${cure}`,
      );
    }
    const suspectClasses = mapping(outputs, files.classifier);
    return {
      suspect: { classes: suspectClasses, features: features.data, weight: classifier.data },
      record: {
        ...single(suspectClasses),
        features: files.features,
        featuresSha256: features.sha256,
        classifier: files.classifier,
        classifierSha256: classifier.sha256,
        ...named?.record,
      },
      destroy: () => undefined,
    };
  }
  const { model: path, network } = files;
  const { model, sha256, contradicted } = await openNetwork(context, path, network);
  try {
    const suspect = { classes: mapping(model.config.numClasses, path), model };
    await loadHeldOut(heldOut, model.config.channels, context.progress);
    const record = {
      path,
      sha256,
      ...networkRecord(network ?? {}, contradicted),
      ...single(suspect.classes),
      ...named?.record,
    };
    return { suspect, record, destroy: () => model.destroy() };
  } catch (error) {
    model.destroy();
    throw error;
  }
}

async function outputNames(file: string) {
  const { classes: names } = await readClasses(file, 'train', {});
  const sha256 = hashBytes(new TextEncoder().encode(`${names.join('\n')}\n`));
  return { file, names, record: { classes: file, classesSha256: sha256 } };
}
