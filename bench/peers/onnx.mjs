/**
 * ONNX models from scratch: the few messages of onnx.proto that a graph of float32 tensors takes, in protobuf's wire format.
 * (github.com/onnx/onnx, onnx/onnx.proto3, gives the field numbers.)
 */
export class OnnxGraph {
  #nodes = [];
  #initializers = [];
  #inputs = [];
  #count = 0;

  input(name, shape) {
    this.#inputs.push(valueInfo(name, shape));
    return name;
  }

  /** A constant. */
  initializer(name, shape, data) {
    const raw = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    this.#initializers.push(
      message(...shape.map((extent) => integer(1, extent)), integer(2, FLOAT), text(8, name), bytes(9, raw)),
    );
    return name;
  }

  /** Appends an operator with one output; attributes are integers or lists of them. Returns the output's name. */
  node(operator, inputs, attributes = {}) {
    const output = `${operator}_${this.#count++}`;
    this.#nodes.push(
      message(
        ...inputs.map((name) => text(1, name)),
        text(2, output),
        text(4, operator),
        ...Object.entries(attributes).map(([name, value]) => bytes(5, attribute(name, value))),
      ),
    );
    return output;
  }

  /** The model file, in operator set 13. */
  model(output, shape) {
    const graph = message(
      ...this.#nodes.map((node) => bytes(1, node)),
      text(2, 'bench'),
      ...this.#initializers.map((initializer) => bytes(5, initializer)),
      ...this.#inputs.map((input) => bytes(11, input)),
      bytes(12, valueInfo(output, shape)),
    );
    return message(integer(1, 8), bytes(7, graph), bytes(8, message(text(1, ''), integer(2, 13))));
  }
}

/** TensorProto.DataType */
const FLOAT = 1;

function attribute(name, value) {
  // AttributeProto.AttributeType: INT 2, INTS 7
  return Array.isArray(value)
    ? message(text(1, name), ...value.map((entry) => integer(8, entry)), integer(20, 7))
    : message(text(1, name), integer(3, value), integer(20, 2));
}

function valueInfo(name, shape) {
  const dimensions = message(...shape.map((extent) => bytes(1, message(integer(1, extent)))));
  const tensor = message(integer(1, FLOAT), bytes(2, dimensions));
  return message(text(1, name), bytes(2, message(bytes(1, tensor))));
}

const message = (...fields) => Buffer.concat(fields);

const integer = (field, value) => Buffer.concat([varint(field << 3), varint(value)]);

const bytes = (field, value) => Buffer.concat([varint((field << 3) | 2), varint(value.length), value]);

const text = (field, value) => bytes(field, Buffer.from(value));

/** Seven bits a byte, lowest first. Non-negative integers only. */
function varint(value) {
  const out = [];
  for (; value > 127; value = Math.floor(value / 128)) out.push((value % 128) | 128);
  return Buffer.from([...out, value]);
}
