import { type Shape, shapeError, sizeOf, type Tensor } from '../../tensor/tensor.ts';
import { copyColumns } from '../concat/concat.ts';

/** The same values, row-major, in another shape (`torch.reshape`); a copy. Throws ShapeError where the sizes differ. */
export function reshape(x: Tensor, shape: Shape): Tensor {
  if (sizeOf(shape) !== x.size) shapeError('reshape', `x cannot have the shape [${shape.join(',')}]`, { x });
  const [y] = x.tape.record({
    op: 'reshape',
    inputs: [x],
    outputs: [shape],
    launches: (_, [y]) => [copyColumns(x, y, { rows: 1 })],
    backward: (dy) => [reshape(dy, x.shape)],
  });
  return y;
}
