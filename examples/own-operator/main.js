// Computes SiLU and its gradient on the device, and says how far they are from the same in float64.
import { backward, Program, Tape } from 'radioactive/engine';
import { openDevice } from 'radioactive/node';
import { silu } from './silu.js';

const values = Float32Array.from({ length: 1001 }, (_, i) => (i - 500) / 50);

const device = await openDevice();
const tape = new Tape(device, { precision: 'f32' });
const x = tape.input('x', [values.length]);
const dy = tape.input('dy', [values.length]);
const y = silu(x);
const [dx] = backward(y, [x], dy);
const program = await Program.build(device, tape, { name: 'silu', outputs: [y, dx] });
program.write(x, values);
program.write(dy, new Float32Array(values.length).fill(1));
await program.run();
const [result, gradient] = [await program.read(y), await program.read(dx)];
program.destroy();

const reference = (/** @type {number} */ v) => v / (1 + Math.exp(-v));
const slope = (/** @type {number} */ v) => (reference(v + 1e-5) - reference(v - 1e-5)) / 2e-5;
const error = (/** @type {Float32Array} */ found, /** @type {(v: number) => number} */ expected) =>
  found.reduce((most, value, i) => Math.max(most, Math.abs(value - expected(values[i]))), 0);
console.log(`on ${device.name}`);
console.log(`SiLU: largest error ${error(result, reference).toExponential(1)}`);
console.log(`its gradient, against differences: largest error ${error(gradient, slope).toExponential(1)}`);
device.destroy();
