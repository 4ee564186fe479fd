import type { Node } from '../tensor/tape.ts';
import { shapeError, type Tensor } from '../tensor/tensor.ts';
import { add } from './add/add.ts';
import { fill } from './fill/fill.ts';

const sourcesOf = (node: Node): readonly (Tensor | undefined)[] => node.differentiates ?? node.inputs;

/**
 * Appends to y's tape the gradient of Σ y·seed with respect to each tensor of `wrt`, and nothing else: where only the image's
 * gradient is asked for, no weight's is ever computed. The seed is dL/dy, ones where it is left out.
 * Returns the gradients in the order of `wrt`. Throws when a tensor does not influence y or an operator on the way has no gradient.
 */
export function backward(y: Tensor, wrt: readonly Tensor[], seed?: Tensor): Tensor[] {
  const { tape } = y;
  if (seed && seed.shape.join() !== y.shape.join())
    shapeError('backward', 'the seed differs from y in shape', { y, seed });
  // What depends on `wrt`: gradients flow through these and no others.
  const dependent = new Set<Tensor>(wrt);
  const nodes: Node[] = [];
  for (const node of tape.nodes) {
    if (sourcesOf(node).some((input) => input && dependent.has(input))) {
      nodes.push(node);
      for (const result of node.results) dependent.add(result);
    }
  }
  const gradients = new Map<Tensor, Tensor>();
  const accumulate = (tensor: Tensor, gradient: Tensor): void => {
    const sum = gradients.get(tensor);
    gradients.set(tensor, sum ? add(sum, gradient) : gradient);
  };
  accumulate(y, seed ?? fill(tape, y.shape, 1));
  for (const node of nodes.reverse()) {
    const dy = gradients.get(node.results[0]);
    if (!dy) continue;
    if (!node.backward) throw new Error(`${node.label} has no gradient`);
    const wanted = (input: number): boolean => {
      const tensor = sourcesOf(node)[input];
      return tensor !== undefined && dependent.has(tensor);
    };
    const inputGradients = tape.scope(`${node.label}.backward`, () => node.backward!(dy, wanted));
    sourcesOf(node).forEach((input, index) => {
      const gradient = inputGradients[index];
      if (input && gradient && wanted(index)) accumulate(input, gradient);
    });
  }
  return wrt.map((tensor) => {
    const gradient = gradients.get(tensor);
    if (!gradient) throw new Error(`${tensor.name} does not influence ${y.name}`);
    return gradient;
  });
}
