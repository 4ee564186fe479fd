import { InputError } from '../../errors.ts';
import { hashBytes } from '../../formats/sha256.ts';
import { elementCount } from '../../formats/shape.ts';
import { checkValues, MisfitError, parameterSpecs } from '../../nn/model.ts';
import { describeModel, type ModelFile, parseWeights, serializeModelFile } from '../../nn/model_file.ts';
import { optionNames } from '../../nn/networks.ts';
import { isTrainable } from '../../nn/recorder.ts';
import { readBytes, requireNewFile } from '../files/files.ts';
import { writeAtomic } from '../files/write.ts';
import { columns, defineCommand } from './command.ts';
import { networkOptions, networkOverrides } from './inputs.ts';

export const weights = defineCommand({
  name: 'weights',
  summary: 'Shows what a file of weights holds, of PyTorch (.pth) or safetensors, and converts it to safetensors',
  options: {
    file: { type: 'string', value: 'FILE', required: true, positional: true, description: 'the file' },
    output: {
      type: 'string',
      short: 'o',
      value: 'MODEL',
      description: 'the .safetensors file to write; it says itself what it is',
    },
    ...networkOptions,
  },
  examples: [
    'resnet18-f37072fd.pth',
    'resnet18-f37072fd.pth -o resnet18.safetensors',
    'checkpoint.pth.tar --stem cifar --input-size 32 --mean 0.49,0.48,0.45 --std 0.25,0.24,0.26 -o suspect.safetensors',
  ],
  async run({ options }) {
    const { file, output } = options;
    if (output) await requireNewFile(output);
    const bytes = await readBytes(file);
    const sha256 = hashBytes(bytes);
    const stored = await parseWeights(bytes, file);
    let model: ModelFile | undefined;
    let problem: InputError | undefined;
    try {
      model = describeModel(stored, file, networkOverrides(options));
      checkValues(model.config, model.tensors, file);
    } catch (error) {
      // Without a file to write, what is there is shown all the same.
      if (!(error instanceof InputError) || output) throw error;
      problem = error;
    }
    if (output && model) await writeAtomic(output, serializeModelFile(model, { source_sha256: sha256 }));

    const { container, entry, prefix, beside, metadata } = stored;
    const tensors = [...(model?.tensors ?? stored.tensors)].map(([name, { dtype, shape }]) => ({ name, dtype, shape }));
    const network = model && problem === undefined ? model.config : null;
    const parameters = network && parameterCount(parameterSpecs(network).filter(({ kind }) => isTrainable(kind)));
    const problems = problem instanceof MisfitError ? problem.problems : problem ? [problem.message] : [];
    const json = {
      file,
      sha256,
      container,
      entry,
      prefix,
      metadata,
      beside,
      network,
      inferred: model?.inferred ?? [],
      problems,
      parameters,
      tensors,
      output: output ?? null,
    };
    const dtypes = [...new Set(tensors.map(({ dtype }) => dtype))].join(', ');
    const text = [
      ...columns(tensors.map(({ name, dtype, shape }) => [name, `${dtype} [${shape.join(', ')}]`] as const)),
      '',
      ...(problem ? [problem instanceof MisfitError ? `${problem.headline}:` : problem.message] : []),
      ...(problem instanceof MisfitError ? problems.map((line) => `  ${line}`) : []),
      ...columns([
        ['file', `${file}, ${container}`],
        ['sha256', sha256],
        ...(entry === null ? [] : [['state dict', entry] as const]),
        ...(prefix ? [['names', `without ${prefix}`] as const] : []),
        ...Object.entries(beside).map(([name, what]) => ['beside it', `${name}: ${what}`] as const),
        ...(network ? describeNetwork(network) : []),
        ...(model && model.inferred.length > 0 ? [['concluded', model.inferred.join(', ')] as const] : []),
        ['holds', `${tensors.length} tensors, ${dtypes}${parameters === null ? '' : `, ${parameters} parameters`}`],
        ...(output ? [['written to', output] as const] : []),
      ]),
    ].join('\n');
    return { json, text, ...(problem && { exitCode: 3 }) };
  },
});

const parameterCount = (tensors: readonly { readonly shape: readonly number[] }[]): number =>
  tensors.reduce((sum, { shape }) => sum + elementCount(shape)!, 0);

function describeNetwork(network: ModelFile['config']): (readonly [string, string])[] {
  const { architecture, numClasses, channels, inputSize, mean, std } = network;
  const options = optionNames(network).map((name) => `${name} ${network[name as keyof typeof network]}`);
  return [
    ['network', [architecture, ...options, `${numClasses} classes`].join(', ')],
    ['takes', `${channels} x ${inputSize} x ${inputSize}, mean ${mean.join(',')}, std ${std.join(',')}`],
  ];
}
