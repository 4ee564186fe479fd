import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { commit, loadAverage, machine, threads } from '../peers/machine.mjs';
import { measureWork } from '../peers/measure.mjs';
import { compareEntries, table } from '../peers/results.mjs';
import { circumstances, log, progress, remarks, run, Session, Stop } from '../peers/session.mjs';
import { cifar, imagenet, step } from '../peers/works.mjs';

const HELP = `Measures ResNet-18's forward, training and marking steps on a GPU, beside PyTorch on the same GPU (float32, TF32, AMP), and where
their time goes. Needs the built project; PyTorch with CUDA where it is to be compared.

usage: node bench/gpu/main.mjs [options]

  --only RE         steps whose name matches this regular expression
  --batches LIST    at 224 pixels; default 64,256
  --rounds N        timed runs of each; default 15
  --seconds N       a step that takes longer makes fewer rounds, but three; default 60
  --tiny            small networks and batches: to see that everything runs, on any adapter
  --torch DEVICE    cuda (default), cpu, or none
  --json            the results as JSON on stdout
  --out FILE        where to write them; default bench/results/gpu-ADAPTER-DATE.json, with --tiny nowhere
  --help

example: bench/gpu/pack.sh here; there, in the project's root: . .gpu/up.sh && node bench/gpu/main.mjs
`;

const ours = fileURLToPath(new URL('../peers/implementations/radioactive.mjs', import.meta.url));
const pytorch = fileURLToPath(new URL('../peers/implementations/pytorch.py', import.meta.url));
/** A GPU that was idle for a moment has raised its clocks by then. */
const WARM_MS = 200;
const OURS = 'radioactive';
const HALF = 'radioactive-f16';
const FLOAT32 = 'torch-float32';

/** PyTorch in float32 comes first: the others are held against it, lower precisions less strictly. */
const implementationsOn = (device) => ({
  ...(device !== 'none' && {
    [FLOAT32]: torch('PyTorch', device, 'float32', 1),
    'torch-tf32': torch('PyTorch TF32', device, 'tf32', 10),
    'torch-amp': torch('PyTorch AMP', device, 'amp', 25),
  }),
  [OURS]: { title: OURS, file: ours },
  [HALF]: { title: `${OURS} f16`, file: ours, args: ['f16'], toleranceFactor: 25 },
});

function torch(title, device, precision, toleranceFactor) {
  return { title, file: pytorch, args: ['--device', device, '--precision', precision], toleranceFactor };
}

/** Where all runs, small: both ways marking goes, with crops and without. */
const tiny = [
  { network: { ...imagenet, width: 8, size: 72, classes: 10 }, batch: 2 },
  { network: { ...cifar, width: 8 }, batch: 4 },
];

function options() {
  let values;
  try {
    ({ values } = parseArgs({
      options: {
        only: { type: 'string', default: '' },
        batches: { type: 'string', default: '64,256' },
        rounds: { type: 'string' },
        seconds: { type: 'string', default: '60' },
        tiny: { type: 'boolean', default: false },
        torch: { type: 'string', default: 'cuda' },
        json: { type: 'boolean', default: false },
        out: { type: 'string' },
        help: { type: 'boolean', default: false },
      },
    }));
    values.only = new RegExp(values.only);
  } catch (error) {
    throw new Stop(`${error.message.split('\n')[0]}; --help shows the options`, 2);
  }
  const batches = values.batches.split(',').map(Number);
  const rounds = Number(values.rounds ?? (values.tiny ? 3 : 15));
  for (const [name, given] of [...batches.map((batch) => ['batches', batch]), ['rounds', rounds]])
    if (!(Number.isInteger(given) && given >= 1))
      throw new Stop(`--${name}: ${values[name]} has no positive integer`, 2);
  const seconds = Number(values.seconds);
  if (!(seconds >= 0)) throw new Stop(`--seconds: ${values.seconds} is no number of seconds`, 2);
  if (!['cuda', 'cpu', 'none'].includes(values.torch)) throw new Stop('--torch: cuda, cpu or none', 2);
  return { ...values, batches, rounds, seconds };
}

function chosenWorks({ only, batches, tiny: small }) {
  const settings = small
    ? tiny
    : [...batches.map((batch) => ({ network: imagenet, batch })), { network: cifar, batch: 256 }];
  const works = settings.flatMap(({ network, batch }) =>
    ['forward', 'train', 'mark'].map((kind) => step(kind, network, batch)),
  );
  const chosen = works.filter(({ name }) => only.test(name));
  if (chosen.length === 0) throw new Stop(`no step matches ${only}: ${works.map(({ name }) => name).join('; ')}`, 2);
  return chosen;
}

/** What the driver calls the GPU, its version and state. */
function nvidiaSmi() {
  const fields = 'name,driver_version,clocks.sm,clocks.mem,power.limit';
  try {
    return execFileSync('nvidia-smi', [`--query-gpu=${fields}`, '--format=csv'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    })
      .toString()
      .trim()
      .split('\n');
  } catch {
    return undefined;
  }
}

/** The command line's profile of a step: time, GFLOP/s and GB/s by kernel, as shares of what this adapter was measured to do. */
function profileOf({ name, kind, network, batch }, precision, remeasure) {
  progress(`profile ${name}, ${precision}`);
  const { width, stem, size, channels, classes } = network;
  const shape = { step: kind, precision, width, stem, 'input-size': size, channels, classes, batch };
  const args = Object.entries(shape).flatMap(([option, value]) => [`--${option}`, String(value)]);
  const cli = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));
  try {
    const flags = ['--json', '--quiet', ...(remeasure ? ['--remeasure'] : [])];
    const stdio = ['ignore', 'pipe', 'ignore'];
    const json = execFileSync(process.execPath, [cli, 'profile', ...args, ...flags], { maxBuffer: 2 ** 28, stdio });
    const { launches: _, network: __, ...report } = JSON.parse(json.toString());
    return { work: name, ...report };
  } catch (error) {
    log(`no profile of ${name}, ${precision}: ${error.message.split('\n')[0]}`);
    return { work: name, precision, error: error.message.split('\n')[0] };
  }
}

function report(result, implementations) {
  const columns = Object.keys(result.versions).map((key) => ({ key, title: implementations[key].title }));
  const ratioOf = (row) => {
    const [key] = Object.keys(row.ratios);
    return key && { ratio: row.ratios[key], to: implementations[key].title };
  };
  return [
    ...circumstances(result, implementations),
    ...(result.nvidiaSmi ?? []),
    '',
    ...table(result.rows, columns, ratioOf, 'ratio'),
    '',
    'ratio: PyTorch’s time in float32 (TF32 off) to ours in float32, median of the rounds; --json has all.',
    ...remarks(result.rows),
  ].join('\n');
}

async function main() {
  const given = options();
  if (given.help) return HELP.trimEnd();
  const works = chosenWorks(given);
  const implementations = implementationsOn(given.torch);
  const before = loadAverage();
  const startedAt = new Date();
  const session = new Session(implementations, threads);
  try {
    const optional = Object.keys(implementations).filter((key) => key !== OURS);
    const keys = await session.start(Object.keys(implementations), optional);
    const adapter = session.adapter([OURS]);
    const slug = adapter.description.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-');
    const standard = new URL(`../results/gpu-${slug}-${startedAt.toISOString().slice(0, 10)}.json`, import.meta.url);
    const out = given.out ? path.resolve(given.out) : given.tiny ? undefined : fileURLToPath(standard);
    const rows = [];
    const profiles = [];
    const result = () => ({
      command: ['node bench/gpu/main.mjs', ...process.argv.slice(2)].join(' '),
      startedAt: startedAt.toISOString(),
      seconds: Math.round((Date.now() - startedAt) / 1000),
      adapter,
      ...(keys.includes(FLOAT32) && { torchDevice: session.adapter([FLOAT32]) }),
      nvidiaSmi: nvidiaSmi(),
      machine: machine(),
      load: { before, after: loadAverage() },
      commit: commit(),
      versions: session.versions(keys),
      rows,
      profiles,
    });
    // After every step: what is measured is kept, whatever comes.
    const save = () => {
      if (!out) return;
      mkdirSync(path.dirname(out), { recursive: true });
      writeFileSync(out, `${JSON.stringify(result(), null, 2)}\n`);
    };
    const references = new Map();
    for (const [index, work] of works.entries()) {
      const entries = [];
      for (const key of keys) entries.push({ key, work, child: await session.child(key) });
      const measured = await measureWork(entries, {
        rounds: given.rounds,
        leastRounds: Math.min(3, given.rounds),
        budgetMs: given.seconds * 1000,
        warmMs: WARM_MS,
        references,
        onProgress: (what) => progress(`[${index + 1}/${works.length}] ${work.name}: ${what}`),
      });
      const { entries: done, ...rest } = measured;
      const compared = compareEntries(done, { ours: OURS, peers: [], flops: work.flops });
      rows.push({ work: work.name, flops: work.flops, ...rest, ...compared });
      save();
    }
    // The profiles have the GPU to themselves.
    session.close();
    const precisions = keys.includes(HALF) ? ['f32', 'f16'] : ['f32'];
    for (const [index, work] of works.entries())
      for (const precision of precisions) {
        profiles.push(profileOf(work, precision, index === 0 && precision === 'f32'));
        save();
      }
    if (rows.some((row) => Object.values(row.implementations).some(({ error }) => error))) process.exitCode = 1;
    if (out) log(`written: ${path.relative('', out)}`);
    return given.json ? JSON.stringify(result(), null, 2) : report(result(), implementations);
  } finally {
    session.close();
  }
}

await run('bench/gpu', main);
