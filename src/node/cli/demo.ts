import { DEFAULT_FRESH_KEYS } from '../../detection/fresh_keys.ts';
import { InputError } from '../../errors.ts';
import { textTable } from '../../formats/text_table.ts';
import { runDemo } from '../demo/demo.ts';
import { exists } from '../files/files.ts';
import { packageFile } from '../files/package_file.ts';
import { defineCommand } from './command.ts';

export const demo = defineCommand({
  name: 'demo',
  summary: 'The whole story on Fashion-MNIST: mark, train, detect, with two controls',
  options: {
    output: {
      type: 'string',
      short: 'o',
      value: 'OUT',
      description: 'folder for everything it makes; default radioactive-demo, or the next free radioactive-demo-2, …',
    },
    data: {
      type: 'string',
      value: 'FOLDER',
      description:
        "Fashion-MNIST's IDX files; default: Debian's package, else the official files, downloaded and checked",
    },
    fraction: {
      type: 'number',
      value: 'Q',
      default: 0.02,
      minimum: 0.001,
      maximum: 1,
      description: "share of the owner's images that are marked, the hardest ones",
    },
  },
  examples: ['', '--fraction 0.05 --json'],
  async run(context) {
    const { options } = context;
    const marker = packageFile('weights/marker.safetensors');
    if (!(await exists(marker)))
      throw new InputError(`${marker}: the shipped marking network is missing; restore it from the repository`);
    const out = options.output ?? (await freeFolder('radioactive-demo'));
    const result = await runDemo({
      ...context,
      marker,
      data: options.data,
      out,
      fraction: options.fraction,
      ownerRange: [50000, 60000],
    });
    const { results, secondsByStage } = result;
    const table = [
      ['', 'log10 p', 'mean cosine', 'accuracy', 'fresh keys'],
      ...results.map(({ name, log10p, meanCosine, accuracy, freshKeysAtMost }) => [
        name,
        log10p.toFixed(2),
        meanCosine.toFixed(4),
        `${(100 * accuracy).toFixed(2)} %`,
        String(freshKeysAtMost),
      ]),
    ];
    return {
      json: result,
      text: [
        '',
        ...textTable(table),
        '',
        `fresh keys: how many of ${DEFAULT_FRESH_KEYS} keys that marked nothing give the same model as small a p-value`,
        `${result.marked} of ${result.images} images marked; PSNR of the saved images: median ${result.psnrMedian.toFixed(1)} dB, lowest ${result.psnrMin.toFixed(1)} dB`,
        `seconds: ${Object.entries(secondsByStage)
          .map(([name, seconds]) => `${name} ${seconds.toFixed(1)}`)
          .join(', ')}; together ${result.seconds.toFixed(0)} on ${result.adapter}`,
        '',
        `verified: ${result.verification.passed} checks in order, ${result.verification.failed} failed, ${result.verification.notChecked} not made (verify --help says what each takes)`,
        '',
        `Everything is in ${out}: report.html to read in a browser, marked images with manifest, keys, models, results, and marked.svg, a picture of some of them.`,
      ].join('\n'),
    };
  },
});

async function freeFolder(name: string): Promise<string> {
  for (let number = 1; ; number++) {
    const folder = number === 1 ? name : `${name}-${number}`;
    if (!(await exists(folder))) return folder;
  }
}
