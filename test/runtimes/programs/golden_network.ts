import { backward, type Device, Model, type NetworkConfig, Program, Tape } from 'radioactive/engine';
import { nchwToNhwc } from '../../layout.ts';
import { golden } from './golden.ts';
import { type Runtime, withDevice } from './program.ts';

/** The ResNet-18 of test/golden. */
export const goldenNetwork: NetworkConfig = {
  architecture: 'resnet18',
  width: 8,
  stem: 'imagenet',
  numClasses: 12,
  inputSize: 64,
  channels: 3,
  mean: [0.485, 0.456, 0.406],
  std: [0.229, 0.224, 0.225],
};

export interface NetworkOutputs {
  /** [N, d] */
  readonly features: Float32Array;
  /** [N, K] */
  readonly logits: Float32Array;
  /** [N, H, W, C], for the gradient of the features that PyTorch was given */
  readonly imageGradient: Float32Array;
}

/** What the network computes where PyTorch computed the same. Throws where a kernel writes out of bounds. */
export async function networkOutputs(device: Device, load: Runtime['load']): Promise<NetworkOutputs> {
  const state = await golden(load, 'resnet18_state');
  const io = await golden(load, 'resnet18_io');
  const model = await Model.load(device, goldenNetwork, state.tensors, 'resnet18_state');
  const [N, C, H, W] = io.shape('x');
  const tape = new Tape(device, { precision: 'f32' });
  const x = tape.input('x', [N, H, W, C]);
  const dfeatures = tape.input('dfeatures', io.shape('dfeatures'));
  const features = model.features(x);
  const logits = model.logits(features);
  const [dx] = backward(features, [x], dfeatures);
  const program = await Program.build(device, tape, {
    name: 'resnet18',
    outputs: [features, logits, dx],
    guard: true,
  });
  program.write(x, nchwToNhwc(io.float32('x'), io.shape('x')));
  program.write(dfeatures, io.float32('dfeatures'));
  await program.run();
  await program.checkGuards();
  const outputs = {
    features: await program.read(features),
    logits: await program.read(logits),
    imageGradient: await program.read(dx),
  };
  program.destroy();
  model.destroy();
  return outputs;
}

export default async function program({ adapter, load }: Runtime): Promise<NetworkOutputs> {
  return await withDevice(adapter, (device) => networkOutputs(device, load));
}
