import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { commit, loadAverage, machine, threads } from './machine.mjs';
import { measureWork } from './measure.mjs';
import { compareEntries, ratio, table } from './results.mjs';
import { circumstances, progress, remarks, run, Session, Stop } from './session.mjs';
import { works } from './works.mjs';

const HELP = `Measures this project beside other WebGPU libraries: same adapter, shapes and data, results checked, by turns.

usage: npm --silent --prefix bench/peers start -- [options]

  --only RE         works whose name matches this regular expression
  --peers LIST      of tfjs,onnxruntime,jax,torch, or none; default: all, torch (PyTorch on the CPU) where it is
                    installed
  --rounds N        timed runs of each implementation and work; default 9
  --seconds N       a work that takes longer makes fewer rounds, but three; default 45
  --gradients       also dx and dweight of the convolutions of which otherwise the forward pass is measured alone
  --quick           three rounds of the short works
  --list            the works, measuring nothing
  --json            the results as JSON on stdout
  --out FILE        the same into a file
  --help

example: LP_NUM_THREADS=1 taskset -c 1 npm --silent --prefix bench/peers start -- --only conv2d --out conv2d.json
`;

const OURS = 'radioactive';
/** In the rows of marking steps: the training step that they are compared with. */
const TRAINING = 'own training step';

const file = (name) => fileURLToPath(new URL(`implementations/${name}`, import.meta.url));
const implementations = {
  [OURS]: { title: OURS, file: file('radioactive.mjs') },
  tfjs: { title: 'tfjs', file: file('tfjs.mjs'), packages: ['@tensorflow/tfjs', '@tensorflow/tfjs-backend-webgpu'] },
  onnxruntime: { title: 'ORT web', file: file('onnxruntime.mjs'), packages: ['onnxruntime-web'] },
  jax: { title: 'jax-js', file: file('jax.mjs'), packages: ['@jax-js/jax'] },
  torch: { title: 'PyTorch CPU', file: file('pytorch.py') },
};
/** Those the ratio is taken to; PyTorch runs on something else. */
const peers = ['tfjs', 'onnxruntime', 'jax'];

function options() {
  let values;
  try {
    ({ values } = parseArgs({
      options: {
        only: { type: 'string', default: '' },
        peers: { type: 'string' },
        rounds: { type: 'string' },
        seconds: { type: 'string', default: '45' },
        gradients: { type: 'boolean', default: false },
        quick: { type: 'boolean', default: false },
        list: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        out: { type: 'string' },
        help: { type: 'boolean', default: false },
      },
    }));
    values.only = new RegExp(values.only);
  } catch (error) {
    throw new Stop(`${error.message.split('\n')[0]}; --help shows the options`, 2);
  }
  const others = Object.keys(implementations).filter((key) => key !== OURS);
  const chosen = values.peers === 'none' ? [] : (values.peers?.split(',') ?? others);
  for (const key of chosen)
    if (!others.includes(key)) throw new Stop(`--peers: there is no ${key}, but ${others.join(', ')}`, 2);
  const rounds = Number(values.rounds ?? (values.quick ? 3 : 9));
  if (!(Number.isInteger(rounds) && rounds >= 1))
    throw new Stop(`--rounds: ${values.rounds} is no positive integer`, 2);
  const seconds = Number(values.seconds);
  if (!(seconds >= 0)) throw new Stop(`--seconds: ${values.seconds} is no number of seconds`, 2);
  // Where npm was called, not where it runs its scripts.
  const out = values.out && path.resolve(process.env.INIT_CWD ?? '.', values.out);
  return { ...values, out, rounds, seconds, chosen, torchAsked: values.peers?.includes('torch') ?? false };
}

/** The works to measure. A marking step brings the training step of its network along. */
function chosenWorks({ only, quick, gradients }) {
  const chosen = works.filter(
    (work) => only.test(work.name) && (!quick || work.quick) && (gradients || !work.gradients),
  );
  if (chosen.length === 0) throw new Stop(`none of ${works.length} works matches ${only}; --list shows them`, 2);
  return chosen;
}

/** Throws Stop where the package of one that was asked for is not installed. */
function checkPackages(keys) {
  for (const name of keys.flatMap((key) => implementations[key].packages ?? []))
    try {
      import.meta.resolve(name);
    } catch {
      throw new Stop(`${name} is not installed; run: npm --prefix bench/peers install`, 3);
    }
}

/** What takes part in a work, ours first. */
async function entriesOf(session, work, keys) {
  const entries = [];
  for (const key of work.kind === 'mark' ? keys.filter((key) => key === OURS || key === 'torch') : keys)
    entries.push({ key, work, child: await session.child(key) });
  if (work.kind === 'mark') {
    const training = works.find(({ kind, network }) => kind === 'train' && network === work.network);
    entries.splice(1, 0, { key: TRAINING, work: training, child: await session.child(OURS) });
  }
  return entries;
}

function rowOf(work, { entries, ...rest }) {
  const compared = compareEntries(entries, { ours: OURS, peers, flops: work.flops });
  const { [OURS]: own, [TRAINING]: training } = compared.implementations;
  return {
    work: work.name,
    flops: work.flops,
    ...rest,
    ...compared,
    ...(training?.timesMs && own.timesMs && { shareOfTraining: ratio(own.timesMs, training.timesMs) }),
  };
}

function report(result) {
  const columns = Object.keys(result.versions).map((key) => ({ key, title: implementations[key].title }));
  const ratioOf = (row) => {
    if (row.shareOfTraining) return { ratio: row.shareOfTraining, to: TRAINING };
    return row.ratio && { ratio: row.ratio, to: implementations[row.fastestPeer].title };
  };
  return [
    ...circumstances(result, implementations),
    '',
    ...table(result.rows, columns, ratioOf, 'ratio'),
    '',
    'ratio: the fastest peer’s time to ours, median of the rounds; of a marking step its own time to the training step’s.',
    ...remarks(result.rows),
  ].join('\n');
}

async function main() {
  const given = options();
  if (given.help) return HELP.trimEnd();
  const chosen = chosenWorks(given);
  if (given.list) return chosen.map(({ name }) => name).join('\n');

  checkPackages(given.chosen);
  const before = loadAverage();
  const startedAt = new Date();
  const session = new Session(implementations, threads);
  try {
    const keys = await session.start([OURS, ...given.chosen], given.torchAsked ? [] : ['torch']);
    const rows = [];
    const references = new Map();
    const result = () => ({
      command: ['bench/peers', ...process.argv.slice(2)].join(' '),
      startedAt: startedAt.toISOString(),
      seconds: Math.round((Date.now() - startedAt) / 1000),
      adapter: session.adapter(keys.filter((key) => key !== 'torch')),
      machine: machine(),
      load: { before, after: loadAverage() },
      commit: commit(),
      versions: session.versions(keys),
      rows,
    });
    for (const [index, work] of chosen.entries()) {
      const measured = await measureWork(await entriesOf(session, work, keys), {
        rounds: given.rounds,
        leastRounds: Math.min(3, given.rounds),
        budgetMs: given.seconds * 1000,
        references,
        referenceChild: keys.includes('torch') ? await session.child('torch') : undefined,
        onProgress: (what) => progress(`[${index + 1}/${chosen.length}] ${work.name}: ${what}`),
      });
      rows.push(rowOf(work, measured));
      // After every work: what is measured is kept, whatever comes.
      if (given.out) writeFileSync(given.out, `${JSON.stringify(result(), null, 2)}\n`);
    }
    if (rows.some((row) => Object.values(row.implementations).some(({ error }) => error))) process.exitCode = 1;
    return given.json ? JSON.stringify(result(), null, 2) : report(result());
  } finally {
    session.close();
  }
}

await run('bench/peers', main);
