import type { Capabilities, Precision } from '../gpu/device.ts';
import type { Constants, Kernel } from '../gpu/kernel.ts';
import { type DType, type Shape, Tensor } from './tensor.ts';
import type { Variable } from './variable.ts';

/** One dispatch of one kernel. */
export interface Launch {
  /** What runs. */
  readonly kernel: Kernel;
  /** In place of the kernel's defaults: they pick the variant, so few combinations, please. */
  readonly constants?: Constants;
  /** Fields of the kernel's `Params`. */
  readonly params?: Readonly<Record<string, number>>;
  /** A tensor for every binding of the kernel; `undefined` for one this variant does not touch. */
  readonly bind: Readonly<Record<string, Tensor | undefined>>;
  /** Workgroups: a number is folded over x and y, three numbers are taken as they are. */
  readonly workgroups: number | readonly [number, number, number];
  /** Floating-point operations, a multiply-add counted as two. */
  readonly flops?: number;
}

/** What can be done to a result in the pass that writes it. */
export interface Finish {
  /** Added; of the result's shape. */
  readonly residual?: Tensor;
  /** Then 0 stays where this, of the same shape, is not positive: the gradient of a ReLU with this result. */
  readonly gate?: Tensor;
}

/** What a node may know when it chooses its kernels. */
export interface LaunchContext {
  /** What a kernel may choose its variant by. */
  readonly capabilities: Capabilities;
  /** What factors of products are rounded to. */
  readonly precision: Precision;
  /** What its last pass does to its result; nothing unless the node `finishes`. */
  readonly finish: Finish;
  /** A tensor that lives only during this node. */
  scratch(shape: Shape): Tensor;
}

/** An operator at one place of a tape: what it reads and makes, its launches, its gradient. See {@link Tape.record}. */
export interface NodeSpec {
  /** The operator's name, as in error messages. */
  readonly op: string;
  /** What it reads; an optional one that is not given is undefined. */
  readonly inputs: readonly (Tensor | undefined)[];
  /** Shapes of what it makes. */
  readonly outputs: readonly Shape[];
  /** Variables written in place. A node with updates is always kept. */
  readonly updates?: readonly Tensor[];
  /** The launches that make `outputs`, in order; asked for when a program is built for a device. */
  launches(context: LaunchContext, outputs: readonly Tensor[]): readonly Launch[];
  /** Its launches do what the context's `finish` says. */
  readonly finishes?: boolean;
  /**
   * This node does no more than finish the result `of` another: where that is made for this node alone by one that `finishes`,
   * the plan lets it do so in its own pass. Several: any one of them will do.
   */
  readonly finish?: readonly (Finish & { readonly of: Tensor })[];
  /**
   * Records the gradient: from dy, the gradient with respect to the first output, to one tensor for each input, in order.
   * `wanted(i)` tells whether input i's gradient is asked for; others may be left undefined. Absent: not differentiable.
   */
  backward?(dy: Tensor, wanted: (input: number) => boolean): readonly (Tensor | undefined)[];
  /** What `backward` gives gradients for, where that is not the inputs: the last node of an operator made of several. */
  readonly differentiates?: readonly (Tensor | undefined)[];
}

/** A node on a tape: its spec, the label it has in messages and profiles, its output tensors. */
export interface Node extends NodeSpec {
  /** Operator and number, as in messages and profiles. */
  readonly label: string;
  /** Its outputs. */
  readonly results: readonly Tensor[];
  /** What the plan has it do besides. */
  readonly finishing?: Finish;
}

/** What a tape is recorded with. */
export interface TapeOptions {
  /** What its matrix products and convolutions round their factors to. */
  readonly precision: Precision;
}

/**
 * A computation as a list of nodes, recorded once with shapes only. `Program.build` plans and replays it; `backward`
 * (src/shaders/backward.ts) appends gradients to it.
 */
export class Tape {
  /** When recording began, by `performance.now`. */
  readonly begunAt = performance.now();
  readonly nodes: Node[] = [];
  readonly inputs: Tensor[] = [];
  readonly variables = new Map<Tensor, Variable>();
  readonly #tensors = new Map<Variable, Tensor>();
  readonly #scopes: string[] = [];
  #count = 0;
  /** The adapter it is recorded for, where operators may choose an algorithm by it; absent: what suits any. */
  readonly capabilities: Capabilities | undefined;
  readonly precision: Precision;

  /**
   * A tape for `target`, a device as a rule; for `undefined` operators choose what suits any adapter. The precision is always said: what
   * rests on it, features and scores that are evidence, must not depend on a default.
   */
  constructor(target: { readonly capabilities: Capabilities } | undefined, { precision }: TapeOptions) {
    this.capabilities = target?.capabilities;
    this.precision = precision;
  }

  /** A tensor that a node will write. For nodes' own use: `record` makes those of its outputs. */
  tensor(name: string, shape: Shape, dtype: DType = 'f32'): Tensor {
    return new Tensor(this, this.#count++, name, shape, dtype);
  }

  /** A value written from the host before replays. */
  input(name: string, shape: Shape, dtype: DType = 'f32'): Tensor {
    const tensor = this.tensor(name, shape, dtype);
    this.inputs.push(tensor);
    return tensor;
  }

  /** The tensor that stands for a variable on this tape. */
  variable(variable: Variable): Tensor {
    let tensor = this.#tensors.get(variable);
    if (!tensor) {
      tensor = this.tensor(variable.name, variable.shape, variable.dtype);
      this.#tensors.set(variable, tensor);
      this.variables.set(tensor, variable);
    }
    return tensor;
  }

  /** Appends a node; returns its outputs. */
  record(spec: NodeSpec): readonly Tensor[] {
    const label = [...this.#scopes, spec.op].join('/');
    const results = spec.outputs.map((shape) => this.tensor(label, shape));
    this.nodes.push({ ...spec, label, results });
    return results;
  }

  /** Names what `body` records, for the profiler and for messages: `layer1.0/conv2d`. */
  scope<T>(name: string, body: () => T): T {
    this.#scopes.push(name);
    try {
      return body();
    } finally {
      this.#scopes.pop();
    }
  }
}
