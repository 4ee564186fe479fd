import { openDataset } from '../datasets/dataset.ts';
import { requireNewFile } from '../datasets/files.ts';
import { hashDataset, writeAtomic } from '../datasets/write.ts';
import { UsageError } from '../errors.ts';
import { beginRegister, registerPath } from '../evidence/register.ts';
import { commitment, type HeldOutImages, serializeKey } from '../marking/key.ts';
import { DEFAULT_SUBSPACE_DIMENSION, keygen as makeKey } from '../marking/keygen.ts';
import { defineCommand } from './command.ts';
import {
  decodeOptions,
  imageOptions,
  load,
  networkOptions,
  networkOverrides,
  openNetwork,
  readClasses,
  splitOption,
} from './inputs.ts';

export const keygen = defineCommand({
  name: 'keygen',
  summary: 'Draws a secret key for a marking network and prints the commitment to publish, never the key',
  options: {
    classes: {
      type: 'string',
      value: 'FILE|DATASET',
      required: true,
      description: 'class names: a .txt file with one a line, or a data set',
    },
    model: { type: 'string', value: 'MARKER', required: true, description: 'the marking network' },
    output: {
      type: 'string',
      short: 'o',
      value: 'KEY',
      required: true,
      description: 'the key file to write, readable by you alone',
    },
    carriers: {
      type: 'string',
      value: 'KIND',
      choices: ['subspace', 'uniform'],
      default: 'subspace',
      description:
        'where carriers are drawn: in the directions that classes do not use (for few classes), or everywhere (as published)',
    },
    dimension: {
      type: 'integer',
      value: 'K',
      minimum: 2,
      maximum: 65536,
      description: `directions of the subspace; default ${DEFAULT_SUBSPACE_DIMENSION}`,
    },
    vanilla: {
      type: 'string',
      value: 'DATASET',
      description: 'unmarked images to find the subspace on; default: the data set of --classes',
    },
    split: splitOption,
    heldOut: {
      type: 'string',
      value: 'DATASET',
      description: 'the images that suspects will be tested on: the key fixes them by their content',
    },
    heldOutSplit: { ...splitOption, default: 'test', description: 'likewise, of --held-out' },
    heldOutName: {
      type: 'string',
      value: 'TEXT',
      description: 'instead of --held-out, where these images are not there yet: what they will be, in words',
    },
    ...imageOptions,
    ...networkOptions,
  },
  examples: [
    '--classes data --model weights/marker.safetensors --held-out held-out -o owner.key',
    '--classes classes.txt --vanilla photos --model resnet18.safetensors -o owner.key',
  ],
  async run(context) {
    const { options, progress, log, signal } = context;
    await requireNewFile(options.output);
    const register = registerPath(options.output);
    await requireNewFile(register);
    if (options.heldOut !== undefined && options.heldOutName !== undefined)
      throw new UsageError('--held-out and --held-out-name say the same; give one');
    if (options.carriers === 'uniform' && options.dimension !== undefined)
      throw new UsageError('--dimension goes with --carriers subspace');
    const { classes, dataset } = await readClasses(options.classes, options.split, decodeOptions(options));
    const vanilla =
      options.vanilla === undefined
        ? dataset
        : await openDataset(options.vanilla, { split: options.split, classes, decode: decodeOptions(options) });
    if (options.carriers === 'subspace' && !vanilla)
      throw new UsageError('--carriers subspace needs unmarked images: give --vanilla DATASET');
    const heldOut = await fixHeldOut(options, classes);
    if (!heldOut)
      log(
        'the images to test on are left open; fix them with --held-out, so that nobody can say they were chosen later',
      );
    const overrides = networkOverrides(options);
    const { model, sha256 } = await openNetwork(context, options.model, overrides);
    try {
      const subspace =
        options.carriers === 'subspace'
          ? {
              dimension: options.dimension ?? DEFAULT_SUBSPACE_DIMENSION,
              vanilla: await load(vanilla!, model.config.channels, progress),
            }
          : undefined;
      const display = progress('features', subspace?.vanilla.dataset.length ?? 0, 'images');
      const key = await makeKey({
        classes,
        model,
        modelSha256: sha256,
        network: overrides,
        ...(subspace && { subspace }),
        heldOut,
        onProgress: (done) => display.update(done),
        signal,
      });
      display.done();
      const published = await commitment(key);
      await beginRegister(register, published, true);
      await writeAtomic(options.output, new TextEncoder().encode(serializeKey(key)), 0o600);
      return {
        json: {
          key: options.output,
          register,
          commitment: published,
          classes,
          carriers: { kind: key.carriers.kind, dimension: key.carriers.dimension },
          model: key.model,
          heldOut,
        },
        text: [
          `commitment ${published}`,
          `${classes.length} classes, carriers ${key.carriers.kind} in ${key.carriers.dimension} of ${model.featureDimension} dimensions`,
          heldOut
            ? `to be tested on ${heldOut.kind === 'name' ? heldOut.name : `${heldOut.count} images, sha256 ${heldOut.sha256}`}`
            : 'to be tested on images that are left open',
          `Keep ${options.output} secret; publish the commitment before the data. ${register} will list every test: keep it with the key.`,
        ].join('\n'),
      };
    } finally {
      model.destroy();
    }
  },
});

async function fixHeldOut(
  options: {
    readonly heldOut: string | undefined;
    readonly heldOutSplit: 'train' | 'test';
    readonly heldOutName: string | undefined;
    readonly maxPixels: number;
    readonly accept: string | undefined;
  },
  classes: readonly string[],
): Promise<HeldOutImages | null> {
  const { heldOut: path, heldOutSplit: split, heldOutName: name } = options;
  if (path === undefined) return name === undefined ? null : { kind: 'name', name };
  const dataset = await openDataset(path, { split, classes, decode: decodeOptions(options) });
  return { kind: 'content', count: dataset.length, sha256: await hashDataset(dataset) };
}
