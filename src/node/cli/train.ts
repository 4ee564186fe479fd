import { splitsWarning } from '../../datasets/names.ts';
import { UsageError } from '../../errors.ts';
import { openDataset } from '../datasets/open.ts';
import { lateDisplay } from '../runs/context.ts';
import { runTraining } from '../runs/training_run.ts';
import { defineCommand, precisionOption } from './command.ts';
import { DATASETS, decodeOptions, imageOptions, networkOptions, networkOverrides, splitOption } from './inputs.ts';
import { trainingOptions, trainingRecipe } from './recipe.ts';

export const train = defineCommand({
  name: 'train',
  summary: 'Trains a network on a data set: from scratch, from other weights, its last layer alone, or by a teacher',
  options: {
    data: {
      type: 'string',
      value: 'DATASET',
      required: true,
      description: `training images: ${DATASETS}`,
    },
    output: {
      type: 'string',
      short: 'o',
      value: 'MODEL',
      required: true,
      description: 'the .safetensors file to write; MODEL.json beside it says what decided the run',
    },
    val: { type: 'string', value: 'DATASET', description: 'images to measure the accuracy on' },
    valSplit: { ...splitOption, default: 'test', description: 'which IDX files of --val' },
    ...trainingOptions,
    init: {
      type: 'string',
      value: 'MODEL',
      description: 'a model file to start from; where the classes are not as many, with a new last layer',
    },
    freezeFeatures: {
      type: 'flag',
      description: 'learn a new last layer on the features of --init (the linear setting)',
    },
    newLastLayer: {
      type: 'flag',
      description: 'with --init: begin the last layer anew, also where the classes are as many',
    },
    teacher: {
      type: 'string',
      value: 'MODEL',
      description: 'learn what this model says of each crop instead of the labels (distillation)',
    },
    teacherScores: {
      type: 'string',
      value: 'FILE',
      description: 'likewise, from logits or probabilities of any classifier, .npy [N, K] in the order of --data',
    },
    resume: { type: 'flag', description: 'go on from MODEL.checkpoint, where there is one' },
    checkpointSteps: {
      type: 'integer',
      value: 'N',
      default: 100,
      minimum: 1,
      description: 'steps between checkpoints',
    },
    split: splitOption,
    ...imageOptions,
    ...networkOptions,
    ...precisionOption,
  },
  afterInterrupt: 'run the same command with --resume to go on',
  examples: [
    '--data data --val data --arch resnet18 --width 16 --epochs 10 -o model.safetensors',
    '--data marked --init weights/marker.safetensors --freeze-features -o suspect.safetensors',
    '--data photos --init resnet18-f37072fd.pth --new-last-layer --epochs 5 -o fine-tuned.safetensors',
    '--data data --arch resnet18 --epochs 30 --pad-crop 4 --rand-augment 2,9 --mixup 0.2 --cutmix 1 --label-smoothing 0.1 --ema 0.99 -o model.safetensors',
    '--data photos --crop-scale 0.25,1 --trivial-augment --clip-norm 1 -o model.safetensors',
    '--data photos --teacher suspect.safetensors --temperature 2 -o student.safetensors',
  ],
  async run({ options, openDevice, progress, log, signal }) {
    const dataset = await openDataset(options.data, { split: options.split, decode: decodeOptions(options) });
    const warning = splitsWarning(options.data, dataset.classes);
    if (warning) log(warning);
    const validation =
      options.val === undefined
        ? undefined
        : await openDataset(options.val, {
            split: options.valSplit,
            classes: dataset.classes,
            decode: decodeOptions(options),
          });
    if (options.teacher !== undefined && options.teacherScores !== undefined)
      throw new UsageError('--teacher and --teacher-scores exclude each other');
    const teacher =
      options.teacher !== undefined
        ? { model: options.teacher }
        : options.teacherScores !== undefined
          ? { scores: options.teacherScores }
          : undefined;
    if (options.newLastLayer && options.init === undefined) throw new UsageError('--new-last-layer goes with --init');
    if (options.temperature !== undefined && !teacher)
      throw new UsageError('--temperature goes with --teacher or --teacher-scores');
    const display = lateDisplay(progress, 'training', 'images');
    const report = await runTraining({
      device: await openDevice(),
      dataset,
      validation,
      out: options.output,
      init: options.init,
      teacher,
      network: networkOverrides(options),
      recipe: {
        freezeFeatures: options.freezeFeatures,
        newLastLayer: options.freezeFeatures || options.newLastLayer,
        ...trainingRecipe(options),
      },
      resume: options.resume,
      checkpointSteps: options.checkpointSteps,
      onProgress: display.update,
      onRemark: log,
      onEpoch: (epoch, loss) => log(`epoch ${epoch}: loss ${loss.toFixed(4)}`),
      signal,
    });
    display.done();
    const percent = (share: number): string => `${(100 * share).toFixed(2)} %`;
    const { training, validation: held } = report.accuracy;
    return {
      json: report,
      text: `${report.model}: accuracy ${percent(training)} on the training images${held === null ? '' : `, ${percent(held)} on ${options.val}`}`,
    };
  },
});
