import { readFileSync } from 'node:fs';
import { defineKernel } from 'radioactive/engine';

/** @import { Kernel, Launch, Tensor } from 'radioactive/engine' */

const source = (/** @type {string} */ file) => readFileSync(new URL(file, import.meta.url), 'utf8');
const forward = defineKernel('silu', source('silu.wgsl'));
const backward = defineKernel('silu_backward', source('silu_backward.wgsl'));

/**
 * x · σ(x) element by element (`torch.nn.SiLU`), any shape.
 * @param {Tensor} x
 */
export function silu(x) {
  const [y] = x.tape.record({
    op: 'silu',
    inputs: [x],
    outputs: [x.shape],
    launches: (_, [y]) => [launch(forward, { x, y }, x.size)],
    backward: (dy) => [siluBackward(dy, x)],
  });
  return y;
}

/**
 * The gradient: an operator like any other.
 * @param {Tensor} dy
 * @param {Tensor} x
 */
function siluBackward(dy, x) {
  const [dx] = x.tape.record({
    op: 'silu_backward',
    inputs: [dy, x],
    outputs: [x.shape],
    launches: (_, [dx]) => [launch(backward, { dy, x, dx }, x.size)],
  });
  return dx;
}

/**
 * What `bind` and `params` name is what the WGSL declares.
 * @param {Kernel} kernel
 * @param {Launch['bind']} bind
 * @param {number} size
 * @returns {Launch}
 */
function launch(kernel, bind, size) {
  const quads = Math.ceil(size / 4);
  return { kernel, bind, params: { quads }, workgroups: Math.ceil(quads / 64), flops: 4 * size };
}
