import { NOT_FROM_A_KEY } from '../../detection/foreign_carriers.ts';
import { DEFAULT_FRESH_KEYS } from '../../detection/fresh_keys.ts';
import { UsageError } from '../../errors.ts';
import { runCarrierTest } from '../runs/carriers.ts';
import { columns, defineCommand } from './command.ts';
import { decodeOptions, imageOptions, networkOptions, networkOverrides, splitOption } from './inputs.ts';

export const carriers = defineCommand({
  name: 'carriers',
  summary: "The white-box test with carriers from a file, such as carriers.pth of the paper's code, instead of a key's",
  options: {
    carriers: {
      type: 'string',
      value: 'FILE',
      required: true,
      description: 'a carrier a row, [K, d]: a tensor in a .pth file, .npy, or #NAME after a .safetensors or .pth file',
    },
    model: {
      type: 'string',
      value: 'MARKER',
      required: true,
      description: 'the network that the images were marked with',
    },
    data: {
      type: 'string',
      value: 'HELDOUT',
      required: true,
      description: 'unmarked images, ten times as many as features or more',
    },
    classes: {
      type: 'string',
      value: 'FILE|DATASET',
      description:
        "classes in the order of the carriers: a .txt file with one a line, or a data set; default HELDOUT's",
    },
    split: { ...splitOption, default: 'test' },
    suspect: { type: 'string', value: 'MODEL', description: 'the model under test' },
    suspectFeatures: { type: 'string', value: 'FILE', description: 'instead of --suspect, as in detect' },
    suspectClassifier: { type: 'string', value: 'FILE', description: 'with --suspect-features, as in detect' },
    suspectClasses: { type: 'string', value: 'FILE|DATASET', description: "the suspect's classes, as in detect" },
    freshKeys: {
      type: 'integer',
      value: 'N',
      default: DEFAULT_FRESH_KEYS,
      minimum: 0,
      maximum: 1_000_000,
      description: 'random carriers that marked nothing, to compare with',
    },
    ...imageOptions,
    ...networkOptions,
  },
  examples: [
    '--carriers carriers.pth --model pretrained_resnet18.pth --data data --suspect checkpoint-0.pth',
    '--carriers carriers.npy --model marker.safetensors --data data --classes classes.txt --suspect suspect.safetensors',
  ],
  async run(context) {
    const { options, log } = context;
    const { suspect: model, suspectFeatures: features, suspectClassifier: classifier, suspectClasses } = options;
    if ((model === undefined) === (features === undefined) || (features === undefined) !== (classifier === undefined))
      throw new UsageError('give --suspect MODEL, or --suspect-features FILE with --suspect-classifier FILE');
    const found = await runCarrierTest(
      {
        carriers: options.carriers,
        model: options.model,
        data: options.data,
        split: options.split,
        decode: decodeOptions(options),
        classes: options.classes,
        freshKeys: options.freshKeys,
        suspect:
          model === undefined
            ? { features: features!, classifier: classifier!, classes: suspectClasses }
            : { model, network: networkOverrides(options), classes: suspectClasses },
      },
      context,
    );
    for (const warning of found.warnings) log(warning);
    const { log10p, meanCosine, dimension, alignment, perClass, null: nothing } = found;
    return {
      json: found,
      text: [
        `log10 p ${log10p.toFixed(3)}`,
        NOT_FROM_A_KEY,
        'it is entered in no register and corrected for no other tests; report and verify do not take it',
        `${nothing.atMost} of ${nothing.log10p.length} random carrier sets, which marked nothing, give as much`,
        `mean cosine ${meanCosine.toFixed(4)} in ${dimension} dimensions; alignment on ${alignment.n} images, rank ${alignment.rank}, r2 ${alignment.r2.toFixed(3)}`,
        ...columns(
          perClass.map((each) => [
            each.class ?? '',
            `cosine ${each.cosine.toFixed(4)}  log10 p ${each.log10p.toFixed(3)}`,
          ]),
        ),
      ].join('\n'),
    };
  },
});
