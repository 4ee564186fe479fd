import { createKey, defaultMarkingRecipe, keyCarriers, Marker, serializeKey } from 'radioactive';
import { Model, openCheckedDevice, parseModelFile } from 'radioactive/engine';
import { decodeImage, encodeImage, portableCodec, psnr } from 'radioactive/images';
import type { News, Order } from './messages.ts';

const tell = (news: News): void => self.postMessage(news);
const codec = portableCodec();

/** The device with a marking network, and a new key of one class. */
async function open() {
  const adapter = await navigator.gpu?.requestAdapter();
  if (!adapter) throw new Error('this browser has no WebGPU here');
  const device = await openCheckedDevice(adapter);
  const response = await fetch('/marker.safetensors');
  if (!response.ok) throw new Error('there is no marker.safetensors: put one into public/');
  const bytes = new Uint8Array(await response.arrayBuffer());
  const { config, tensors } = await parseModelFile(bytes, 'marker.safetensors');
  const model = await Model.load(device, config, tensors, 'marker.safetensors');
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  const sha256 = Array.from(hash, (byte) => byte.toString(16).padStart(2, '0')).join('');
  const { architecture } = config;
  const key = await createKey({
    classes: ['mine'],
    model: { sha256, architecture, featureDimension: model.featureDimension },
    basis: null,
    centre: true,
  });
  tell({ kind: 'ready', adapter: device.name, key: serializeKey(key) });
  return { model, direction: Float32Array.from((await keyCarriers(key)).directions) };
}

const opened = open();
opened.catch((error: Error) => tell({ kind: 'failed', message: error.message }));

async function mark({ name, file }: Order): Promise<void> {
  const { model, direction } = await opened;
  const image = await decodeImage(codec, file, name);
  const recipe = defaultMarkingRecipe(model.config.inputSize);
  const marker = await Marker.create(model, image.width * image.height, 1, recipe);
  try {
    const [marked] = await marker.mark([{ id: name, image, direction }], {
      onIteration: (iteration) => tell({ kind: 'progress', iteration, of: recipe.iterations }),
    });
    const png = Uint8Array.from(await encodeImage(codec, marked));
    tell({ kind: 'marked', png, psnr: psnr(image, marked) });
  } finally {
    marker.destroy();
  }
}

// One image after another.
let last = Promise.resolve();
self.onmessage = ({ data }: MessageEvent<Order>) => {
  last = last.then(() => mark(data)).catch((error: Error) => tell({ kind: 'failed', message: error.message }));
};
