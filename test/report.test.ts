import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { IntegrityError } from '../src/errors.ts';
import { bonferroni } from '../src/evidence/register.ts';
import type { Result } from '../src/evidence/result.ts';
import type { Verification } from '../src/evidence/verification.ts';
import { cosineOfP, log10PCosine } from '../src/maths/cosine.ts';
import { type Command, parseOptions } from '../src/node/cli/command.ts';
import { detect as detectCommand } from '../src/node/cli/detect.ts';
import { keygen as keygenCommand } from '../src/node/cli/keygen.ts';
import { mark as markCommand } from '../src/node/cli/mark.ts';
import { report as reportCommand } from '../src/node/cli/report.ts';
import { verify as verifyCommand } from '../src/node/cli/verify.ts';
import { enterLook, readRegister } from '../src/node/evidence/register.ts';
import { classFigure, nullFigure } from '../src/report/figures.ts';
import { reportPage } from '../src/report/page.ts';
import { makeReport, type ReportInput } from '../src/report/report.ts';
import type { Report } from '../src/report/schema.ts';
import { probabilityInWords, writtenProbability } from '../src/report/words.ts';
import { useDevice } from './device.ts';
import { dangersOf, type ParsedPage, parsePage } from './html.ts';
import { nullOf, type SampleOptions, sampleResult, stored, uniformNull } from './sample_result.ts';
import { CLASSES, writeFolder, writeModel } from './small_data.ts';

/** A page that parses without a complaint and holds nothing that could run. */
function soundPage(source: string): ParsedPage {
  const page = parsePage(source);
  expect(page.errors).toEqual([]);
  expect(dangersOf(page)).toEqual([]);
  expect(source).not.toMatch(/\b(NaN|undefined|\[object)\b/);
  for (const style of ['prefers-color-scheme: dark', '@media print', '.plot .bar']) expect(source).toContain(style);
  return page;
}

function make(options: SampleOptions = {}, rest: Partial<ReportInput> = {}): { report: Report; page: ParsedPage } {
  const report = makeReport({ result: stored(sampleResult(options)), files: [], full: true, ...rest });
  return { report, page: soundPage(reportPage(report)) };
}

describe('probabilities', () => {
  it.each([
    [0, '1', 'every time'],
    [Math.log10(0.9999), '>0.999', 'more than 99 in 100'],
    [Math.log10(0.997), '0.997', 'more than 99 in 100'],
    [-0.148, '0.71', 'about 71 in 100'],
    [-2, '0.01', 'about 1 in 100'],
    [-2.001, '0.01', 'about one in 100'],
    [-2.9, '0.0013', 'about one in 790'],
    [-4, '10^-4.0', 'about one in 10 000'],
    [-8.5, '10^-8.5', 'about one in 320 000 000'],
    [-22.612, '10^-22.6', 'about one in 4 × 10^22, a number of 23 digits'],
    [-23, '10^-23.0', 'about one in 10^23, a number of 24 digits'],
    [-22.99, '10^-23.0', 'about one in 10^23, a number of 24 digits'],
    [-3485.299207, '10^-3485.3', 'one in a number of 3486 digits'],
    [-5000, '10^-5000.0', 'one in a number of 5001 digits'],
    [Number.NEGATIVE_INFINITY, '0', 'too small for this arithmetic to tell from zero'],
  ])('10 to the power of %d', (log10p, written, words) => {
    expect(writtenProbability(log10p)).toBe(written);
    expect(probabilityInWords(log10p).replaceAll('\u00a0', ' ')).toBe(words);
  });

  it('of cosines are inverted', () => {
    for (const d of [2, 3, 32, 512])
      for (const log10p of [-40, -4, -1, Math.log10(0.5), Math.log10(0.95)]) {
        const cosine = cosineOfP(log10p, d);
        const found = log10PCosine(cosine, d);
        // Near 1 the cosine's own rounding decides.
        if (1 - cosine > 1e-9 && !(Math.abs(found - log10p) <= 1e-6)) expect.fail(`${log10p}, ${d}: ${found}`);
      }
  });
});

describe('a report says', () => {
  it('the raw probability and the corrected one, in digits and words', () => {
    const { report, page } = make({ log10p: -22.612, looks: 30 });
    expect(report.evidence).toBe('strong');
    expect(report.corrected.log10p).toBe(bonferroni(-22.612, 30));
    const text = page.text();
    for (const expected of ['10^-22.6', '10^-21.1', '−22.612', '−21.135', 'test 30 of 30', 'about one in 4 × 10^22'])
      expect(text).toContain(expected);
  });

  it('what kind of probability it is, whatever was found', () => {
    for (const log10p of [Number.NEGATIVE_INFINITY, -22, -2, -0.3, 0]) {
      const text = make({ log10p }).page.text();
      expect(text).toContain(
        'If the carriers were independent of the model, a result as strong as this one or stronger',
      );
      expect(text).toContain('It is not the probability that the model was made without the marked images');
      // Nowhere else.
      expect(text.match(/guilt/g)).toHaveLength(1);
      expect(text).toContain('it is not the probability that anybody is guilty of anything');
    }
  });

  it.each([
    [-22, 1, 'strong', 'The test found the mark'],
    [-4.2, 10, 'weak', 'a hint of the mark'],
    [-1.4, 1, 'weak', 'a hint of the mark'],
    [-1.4, 2, 'none', 'did not find the mark'],
    [-0.1, 1, 'none', 'did not find the mark'],
  ] as const)('how strong log10 p %d after %i tests is', (log10p, looks, evidence, headline) => {
    const { report } = make({ log10p, looks });
    expect(report.evidence).toBe(evidence);
    expect(report.headline).toContain(headline);
    const reading = {
      strong: 'Chance is no reasonable explanation',
      weak: 'a hint and no more',
      none: 'found no evidence',
    };
    for (const [kind, words] of Object.entries(reading))
      expect(report.verdict.join(' ').includes(words), kind).toBe(kind === evidence);
  });

  it('what does not hold, first of all', () => {
    const { report, page } = make({
      withKey: false,
      change: (result) => ({ ...result, primary: false, deviations: ['the key fixes 600 images, these are others'] }),
    });
    expect(report.headline).toMatch(/; but not all that this rests on holds$/);
    const broken = report.assumptions.filter(({ holds }) => holds === false).map(({ assumption }) => assumption);
    expect(broken).toEqual([
      'What was tested was fixed with the key',
      "The test is on the owner's list of tests, which was begun with the key",
    ]);
    for (const assumption of broken) expect(report.verdict.join(' ')).toContain(assumption);
    expect(page.text()).toContain('the key fixes 600 images, these are others');
    expect(page.text()).toContain('✗ does not hold');
    expect(report.verdict.join(' ')).toContain('nobody can say how many there were before');
  });

  it('that p-values of fresh keys are not what they claim to be, where they are not', () => {
    const tooSmall = uniformNull(500).map((x) => 1.4 * x);
    const { report } = make({
      change: (result) => ({
        ...result,
        statistics: result.statistics.map((one) => ({ ...one, null: nullOf(tooSmall, -22.612) })),
      }),
    });
    expect(report.statistics[0].null!.uniformity!.passed).toBe(false);
    expect(report.headline).toContain('not all that this rests on holds');
    expect(make().report.statistics[0].null!.uniformity!.passed).toBe(true);
  });

  it('of other tests whatever they have', () => {
    const decoys = uniformNull(99)
      .map((x) => Math.round(100 * 10 ** x))
      .map((rank) => Math.log10(Math.max(1, rank) / 100));
    const { report, page } = make({
      change: ({ alignment, dimension, meanCosine, perClass, ...result }) =>
        ({
          ...result,
          test: 'black-box',
          log10p: -6.5,
          register: { ...result.register, log10pBonferroni: -6.5 },
          responses: { images: 300, beta: 0.75 },
          blackBox: {
            sets: 1000,
            imagesPerClass: 30,
            scores: 'logits',
            control: { beta: [], explained: 0 },
            marksLog10P: -0.5,
            probes: { path: 'probes', sha256: '1'.repeat(64) },
            references: [],
          },
          statistics: [
            {
              name: 'decoy ranks',
              log10p: -6.5,
              exact: true,
              perClass: ['ape', 'bee', 'cat'].map((name, i) => ({
                class: name,
                score: 0.5 * i,
                log10p: -i,
                images: 40 + i,
              })),
              null: nullOf(decoys, -6.5, 'decoys'),
              decoys: 99,
            },
            {
              name: 'joint z',
              log10p: -9.125,
              exact: false,
              perClass: [],
              null: null,
            },
            {
              name: 'twins',
              log10p: -1.5,
              exact: true,
              perClass: [{ class: 'ape', score: -2.25, log10p: null }],
              null: null,
            },
          ],
        }) as unknown as Result,
    });
    expect(report.statistics.map(({ name, decides, exact }) => [name, decides, exact])).toEqual([
      ['decoy ranks', true, true],
      ['joint z', false, false],
      ['twins', false, true],
    ]);
    // Ranks among the same decoys are no independent sample.
    expect(report.statistics[0].null).toMatchObject({ kind: 'decoys', count: 99, uniformity: null });
    const text = page.text();
    for (const expected of [
      '99 sets of decoys, drawn as the carriers were, took the place of the true one',
      'joint z, for comparison: an approximation',
      'It is an approximation and no p-value.',
      'images 300, beta 0.75',
      '−2.2500',
      '−9.125',
    ])
      expect(text).toContain(expected);
    expect(text).not.toContain('How well the two networks could be compared');
    // The histogram of the decoys, and the classes of two statistics; each wide and narrow.
    expect(page.of('svg')).toHaveLength(6);
  });

  it('how a black-box test was made, and that its probes were made alike', () => {
    const blackBox = {
      sets: 100,
      imagesPerClass: 30,
      scores: 'logits',
      control: { beta: [0.75], explained: 0.4321 },
      marksLog10P: -0.5,
      probes: { path: 'probes <1>', sha256: '1'.repeat(64) },
      references: [{ path: 'innocent.safetensors', sha256: '2'.repeat(64) }],
    };
    const black = (change: Partial<typeof blackBox>, rest: Partial<ReportInput> = {}) =>
      make(
        {
          change: ({ alignment, dimension, meanCosine, perClass, ...result }) => {
            const [whiteBox] = result.statistics;
            const first = {
              ...whiteBox,
              name: 'black-box sum of responses',
              log10p: -5,
              perClass: whiteBox.perClass.map((entry) => ({ ...entry, log10p: -2 })),
              null: nullOf(whiteBox.null!.log10p.map(Number), -5, 'decoys'),
            };
            // The same classes again, less of them: said once.
            const again = {
              ...first,
              name: 'rank',
              perClass: first.perClass.map((entry) => ({ ...entry, log10p: null })),
            };
            return {
              ...result,
              test: 'black-box',
              log10p: -5,
              register: { ...result.register, log10pBonferroni: -5 },
              statistics: [first, again],
              blackBox: { ...blackBox, ...change },
            };
          },
        },
        rest,
      );
    const { report, page } = black({});
    for (const expected of [
      '100: the true one and 99 decoys',
      'probes <1>',
      '2'.repeat(64),
      '0.7500',
      '43.2 %',
      'logits',
    ])
      expect(page.text()).toContain(expected);
    expect(page.of('table').filter((table) => page.text(table).startsWith('\nclass'))).toHaveLength(1);
    expect(report.commands[0].command).toContain("--probes 'probes <1>'");
    expect(report.commands[0].command).not.toContain('--data');
    const alike = (made: Report) => made.assumptions.find(({ assumption }) => assumption.includes('decoys'))!.holds;
    expect(alike(report)).toBe(true);
    expect(alike(black({ marksLog10P: -3.5 }).report)).toBe(false);
    // By default bounds alone, which no digit of the exact numbers shows through.
    const usual = black({ marksLog10P: -3.5 }, { full: false });
    expect(usual.report).toMatchObject({ full: false, raw: { log10p: -5, written: 'at most 10^-5' } });
    expect(alike(usual.report)).toBe(false);
    expect(usual.report.result.statistics.flatMap(({ perClass, null: sample }) => [perClass, sample!.log10p])).toEqual(
      new Array(4).fill([]),
    );
    expect(usual.report.result.register.sha256).toBeNull();
    expect(usual.page.text()).toContain('Probabilities here are bounds');
  });

  it('nothing of an approximation that decides', () => {
    const { report } = make({
      change: (result) => ({ ...result, statistics: result.statistics.map((one) => ({ ...one, exact: false })) }),
    });
    expect(report.evidence).toBe('no p-value');
    expect(report.headline).toContain('an approximation, no p-value');
    expect(report.verdict.join(' ')).not.toContain('If the carriers were independent');
    expect(report.statistics[0].null!.uniformity).toBeNull();
  });

  it('how to check it, as a shell reads it', () => {
    const { report } = make({
      change: (result) => ({
        ...result,
        command: [...result.command, '--save', 'evidence', '--report=x.html', '-o', 'y'],
      }),
    });
    const [verify, again] = report.commands.map(({ command }) => command);
    expect(verify).toContain(`--commitment ${'a'.repeat(64)}`);
    expect(again).toBe(`radioactive detect --key owner.key --model marker.safetensors --suspect 'it'\\''s one'`);
  });
});

describe('the plots of a report', () => {
  const named = (page: ParsedPage, className: string) =>
    page.elements.filter(({ attrs }) =>
      attrs.some(({ name, value }) => name === 'class' && value.split(' ').includes(className)),
    );
  const attribute = (element: ParsedPage['elements'][number], name: string): number =>
    Number(element.attrs.find((entry) => entry.name === name)!.value);
  /** Where the axis below a plot has a label. */
  const tickOf = (svg: string, label: string): number => {
    const [, x] = new RegExp(`x="([\\d.]+)" y="[\\d.]+" text-anchor="middle">${label}<`).exec(svg)!;
    return Number(x);
  };

  it('have the observed value and the null in place', () => {
    const sample = sampleResult({ log10p: -5 });
    const values = [-0.05, -0.07, -0.35, -1.25, -2.1];
    const svg = nullFigure({ ...sample.statistics[0], null: nullOf(values, -5) }, 700)!.text;
    const page = parsePage(svg);
    const [rule] = named(page, 'rule');
    expect(attribute(rule, 'x1')).toBeCloseTo(tickOf(svg, '10⁻⁵'), 6);
    const bars = named(page, 'bar').slice(0, 4);
    // Intervals of 0.2: two values in the last, one in each of three others.
    const unit = (tickOf(svg, '1') - tickOf(svg, '10⁻⁵')) / 5;
    const lower = bars.map((bar) => (attribute(bar, 'x') - tickOf(svg, '1')) / unit);
    for (const [i, from] of [-2.2, -1.4, -0.4, -0.2].entries()) expect(lower[i]).toBeCloseTo(from, 2);
    const heights = bars.map((bar) => attribute(bar, 'height'));
    expect(heights[3] / heights[0]).toBeCloseTo(2, 1);
  });

  it('have classes in place, and what chance gives', () => {
    const [statistic] = sampleResult().statistics;
    const perClass = [0.2, -0.4, 0.6].map((score, i) => ({ class: `c${i}`, score, log10p: null }));
    const svg = classFigure({ ...statistic, perClass }, 32, 700)!.text;
    const page = parsePage(svg);
    const unit = (tickOf(svg, '0.6') - tickOf(svg, '0')) / 0.6;
    for (const [i, point] of named(page, 'point').slice(0, 3).entries()) {
      const path = point.attrs.find(({ name }) => name === 'd')!.value;
      // A circle begins at its left.
      const x = Number(/^M([\d.]+)/.exec(path)![1]) + 4;
      expect((x - tickOf(svg, '0')) / unit).toBeCloseTo(perClass[i].score, 2);
    }
    const spans = named(page, 'span').slice(0, 2);
    for (const [i, share] of [0.99, 0.9].entries()) {
      const edge = cosineOfP(Math.log10((1 - share) / 2), 32);
      expect(attribute(spans[i], 'width') / unit).toBeCloseTo(2 * edge, 2);
      expect((attribute(spans[i], 'x') - tickOf(svg, '0')) / unit).toBeCloseTo(-edge, 2);
    }
  });

  it('are no plots where nothing is known', () => {
    const [statistic] = sampleResult().statistics;
    expect(nullFigure({ ...statistic, null: null }, 700)).toBeNull();
    expect(nullFigure({ ...statistic, null: nullOf([], -1) }, 700)).toBeNull();
    expect(classFigure({ ...statistic, perClass: [] }, 32, 700)).toBeNull();
  });
});

describe('a report bears', () => {
  it.each([
    ['nothing but −∞', { log10p: Number.NEGATIVE_INFINITY }, ['0', '−∞']],
    ['10^-5000', { log10p: -5000.25 }, ['10^-5000.3', '−5000.250']],
    ['one class', { classes: ['only'] }, ['its one class']],
    ['no fresh keys', { freshKeys: 0 }, []],
    ['one fresh key', { freshKeys: 1 }, []],
  ] as const)('%s', (_, options, expected) => {
    const { page } = make(options);
    for (const text of expected) expect(page.text()).toContain(text);
  });

  it('a thousand classes', () => {
    const classes = Array.from({ length: 1000 }, (_, i) => `class ${i}`);
    const { page } = make({ classes });
    expect(page.of('details')).toHaveLength(1);
    const points = page
      .of('path')
      .filter(({ attrs }) => attrs.some(({ name, value }) => name === 'class' && value.startsWith('point')));
    // All of them in the wide plot and in the narrow one, and the mark of each legend.
    expect(points).toHaveLength(2 * 1001);
    expect(page.text(page.of('details')[0])).toContain('class 999');
  });

  it('infinities in any place of a statistic', () => {
    make({
      change: (result) => ({
        ...result,
        statistics: [...result.statistics, ...result.statistics].map((one, at) =>
          at === 0
            ? one
            : {
                ...one,
                name: 'another',
                perClass: one.perClass.map((entry, i) => ({
                  ...entry,
                  score: i === 0 ? Number.POSITIVE_INFINITY : entry.score,
                  log10p: Number.NEGATIVE_INFINITY,
                })),
                null: nullOf([Number.NEGATIVE_INFINITY, -1, 0, -4000], -22.612),
              },
        ),
      }),
    });
  });

  it('hostile names, which it shows as what they are', () => {
    const hostile = `<script>alert("1")</script><img src=x onerror='a'>]]></svg></style>&lt;\u202e\0\ud800 10^-9`;
    const shown = `<script>alert("1")</script><img src=x onerror='a'>]]></svg></style>&lt;\\u202e\\u0000\\ud800 10^-9`;
    const result = sampleResult({ classes: [hostile, `${hostile}2`] });
    const report = makeReport({
      result: stored({
        ...result,
        program: { version: hostile, node: hostile, adapter: hostile },
        command: [hostile, '--model', hostile, `--key=${hostile}`],
        deviations: [hostile],
        warnings: [hostile],
        suspect: { path: `folder/${hostile}`, sha256: hostile, [hostile]: hostile },
        data: { ...result.data, path: hostile },
        markingModel: { ...result.markingModel, architecture: hostile },
        carriers: { ...result.carriers, kind: hostile },
        key: {
          ...result.key,
          statistic: { kind: hostile, [hostile]: hostile },
          heldOut: { kind: 'name', name: hostile },
        },
        statistics: [
          ...result.statistics,
          ...result.statistics.map((one) => ({ ...one, name: hostile, null: { ...one.null!, kind: hostile } })),
        ],
        [hostile]: { [hostile]: [hostile] },
      }),
      files: [{ name: hostile, sha256: 'a'.repeat(64), found: true }],
      originalPath: hostile,
      marked: {
        path: hostile,
        commitment: 'a'.repeat(64),
        merkleRoot: 'b'.repeat(64),
        marked: 1,
        of: 2,
        options: { radiusLevels: hostile },
        psnrMedian: null,
        psnrMin: null,
        maxChangeLevels: 0,
        examples: [{ id: hostile, class: hostile, width: 1, height: 1, psnr: null, maxChangeLevels: 0 }],
      },
    });
    const image = { uri: 'data:image/png;base64,AAAA', width: 1, height: 1 };
    const page = soundPage(reportPage(report, [{ original: image, marked: image, difference: image }]));
    expect(page.of('img')).toHaveLength(3);
    expect(page.text().split(shown).length).toBeGreaterThan(20);
  });
});

describe('a result that contradicts itself is refused:', () => {
  const sample = sampleResult({ looks: 3 });
  const [statistic] = sample.statistics;
  it.each<[string, Partial<Result>, string]>([
    ['no probability', { log10p: 0.5 }, 'log10p is 0.5, which is no logarithm of a probability'],
    ['not a number', { log10p: 'NaN' }, 'log10p is NaN'],
    [
      'another correction',
      { register: { ...sample.register, log10pBonferroni: -30 } },
      'register.log10pBonferroni is -30, log10p corrected for 3 tests is -22.1',
    ],
    ['no such entry', { register: { ...sample.register, entry: 4 } }, 'register: entry 4 of 3 tests cannot be'],
    [
      'fewer in the null',
      { statistics: [{ ...statistic, null: { ...statistic.null!, atMost: 7 } }] },
      'white-box: null.atMost is 7, its values give 0',
    ],
    [
      'a class that is none',
      { statistics: [{ ...statistic, perClass: [{ class: 'ape', score: 1, log10p: 'NaN' }] }] },
      'white-box: ape: log10p is NaN',
    ],
    // What the audit did: the headline is another number than the statistic behind it.
    [
      'another p-value than its statistic',
      { log10p: -50, register: { ...sample.register, log10pBonferroni: bonferroni(-50, 3) } },
      'log10p is -50, the statistic that decides, white-box, has -22.6',
    ],
    [
      'another statistic than its classes give',
      {
        log10p: -50,
        register: { ...sample.register, log10pBonferroni: bonferroni(-50, 3) },
        statistics: [{ ...statistic, log10p: -50 }],
      },
      "white-box: log10p is -50, Fisher's combination of its classes is -22.6",
    ],
    [
      'a p-value that its cosine does not have',
      { perClass: sample.perClass!.map((entry, c) => (c === 1 ? { ...entry, log10p: -20 } : entry)) },
      'bee: log10p is -20, a cosine of ',
    ],
    ['no cosine', { perClass: sample.perClass!.map((entry) => ({ ...entry, cosine: 2 })) }, 'ape: 2 is no cosine'],
    ['another mean', { meanCosine: 0.99 }, 'meanCosine is 0.99'],
    [
      'a test before its key',
      { time: '2001-01-01T00:00:00.000Z' },
      'the test was made at 2001-01-01T00:00:00.000Z, before',
    ],
    [
      'a time to come',
      { time: '2999-01-01T00:00:00.000Z' },
      'the test was made at 2999-01-01T00:00:00.000Z, which is still to come',
    ],
  ])('%s', (_, change, message) => {
    const input = { result: stored({ ...sample, ...change }), files: [] };
    expect(() => makeReport(input)).toThrow(IntegrityError);
    expect(() => makeReport(input)).toThrow(`evidence/result.json: ${message}`);
  });
});

describe('from a test to its report', () => {
  let folder: string;
  const at = (name: string): string => join(folder, name);
  const words = (line: string) => line.split(' ').map((word) => word.replaceAll(/@(?=[a-z])/g, `${folder}/`));
  const device = useDevice();
  /** A command line in this process, as the program would run it. */
  async function run(command: Command, line: string) {
    const args = words(line);
    const { argv } = process;
    process.argv = ['node', 'radioactive', command.name, ...args];
    try {
      return await command.run({
        options: parseOptions(command.options, args),
        signal: new AbortController().signal,
        progress: () => ({ update: () => undefined, done: () => undefined }),
        log: () => undefined,
        openDevice: async () => device(),
      });
    } finally {
      process.argv = argv;
    }
  }
  const report = async (line: string): Promise<Report> => (await run(reportCommand, line)).json as Report;
  const ALL =
    '@evidence --register @owner.key.register.jsonl --verification @verification.json --marked @marked --original @images';

  const DETECT = '--key @owner.key --model @marker.safetensors --suspect @suspect.safetensors --data @held-out';

  let result: Result;
  let commitment: string;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'radioactive-report-'));
    writeFolder(at('images'), 12);
    writeFolder(at('held-out'), 60, CLASSES, 1000);
    writeModel(at('marker.safetensors'));
    writeModel(at('suspect.safetensors'), { seed: 1 });
    const keygen = await run(
      keygenCommand,
      '--classes @images --vanilla @held-out --dimension 4 --model @marker.safetensors --held-out @held-out -o @owner.key',
    );
    commitment = (keygen.json as { commitment: string }).commitment;
    await run(
      markCommand,
      '--key @owner.key --model @marker.safetensors --data @images --fraction 0.5 --iterations 3 -o @marked',
    );
    const detected = await run(detectCommand, `${DETECT} --fresh-keys 50 --save @evidence --report @first.html`);
    result = detected.json as Result;
    await run(
      verifyCommand,
      '--key @owner.key --result @evidence/result.json --marked @marked --original @images --data @held-out -o @verification.json',
    );
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  it('detect writes a page of its own', () => {
    const page = soundPage(readFileSync(at('first.html'), 'utf8'));
    expect(page.text()).toContain(commitment);
    expect(page.text()).toContain('The marked images were not at hand for this report.');
  });

  it('with all that belongs to it', async () => {
    const finished = await run(reportCommand, `${ALL} -o @all.html`);
    const source = readFileSync(at('all.html'), 'utf8');
    const page = soundPage(source);
    const text = page.text();
    const made = await report(`${ALL} -o @all.json`);
    expect(finished.text).toContain(made.headline);
    for (const expected of [
      commitment,
      made.resultSha256,
      result.suspect.sha256,
      result.markingModel.sha256,
      result.data.sha256,
      result.carriers.sha256,
      result.register.sha256,
      ...Object.values(result.saved!),
      ...Object.keys(result.saved!),
      writtenProbability(Number(result.log10p)),
      Number(result.log10p).toFixed(3).replace('-', '−'),
      `${result.statistics[0].null!.atMost}`,
      `radioactive ${result.program.version}`,
      result.program.adapter,
      result.command.join(' '),
      'ape',
      'bee',
      made.marked!.merkleRoot,
      '60 images for 32 features; 320 or more are advised',
    ])
      expect(text).toContain(expected);
    for (const { cosine } of result.perClass!) expect(text).toContain(Number(cosine).toFixed(4).replace('-', '−'));
    for (const paragraph of [...made.verdict, ...made.limits]) expect(text).toContain(paragraph);
    // Six are marked, half of either class, and each is shown three times.
    expect(made.marked).toMatchObject({ marked: 6, of: 12 });
    expect(made.marked!.examples.map((example) => example.class)).toEqual(['ape', 'bee', 'ape', 'bee', 'ape', 'bee']);
    expect(page.of('img')).toHaveLength(18);
    // Fresh keys are drawn in each test: in one of a hundred their p-values look uneven by chance.
    const failed = made.assumptions.filter(({ holds }) => holds === false).map(({ assumption }) => assumption);
    expect(failed.filter((assumption) => !assumption.includes('p-values on this model'))).toEqual([]);
    expect(made.verification!.failed).toBe(0);
    expect(made.result).toEqual(JSON.parse(readFileSync(at('evidence/result.json'), 'utf8')));
    // The document written is the one printed; only their times differ.
    expect(JSON.parse(readFileSync(at('all.json'), 'utf8'))).toEqual(JSON.parse(JSON.stringify(made)));
    // Nothing of the key.
    const { secret, nonce } = JSON.parse(readFileSync(at('owner.key'), 'utf8'));
    for (const hidden of [secret, nonce]) {
      expect(source).not.toContain(hidden);
      expect(JSON.stringify(made)).not.toContain(hidden);
    }
  });

  it('with a command that verifies it', async () => {
    const { commands } = await report(`${ALL} -o @commands.json`);
    const [program, name, ...args] = commands[0].command.replaceAll('\\\n', ' ').split(/ +/);
    expect([program, name]).toEqual(['radioactive', 'verify']);
    const { json, exitCode } = await run(verifyCommand, args.join(' '));
    expect(exitCode).toBe(7);
    expect((json as Verification).checks.filter(({ state }) => state !== 'ok').map(({ check }) => check)).toEqual([
      'beacon',
      'subspace',
      'time stamp',
      'network of the suspect',
      'suspect',
      'features of the suspect',
      'last layer of the suspect',
      'test again',
      'register complete',
    ]);
    expect(commands[1].command).toBe(`radioactive detect ${words(DETECT).join(' ')} --fresh-keys 50`);
  });

  it('of images among which some could not be marked: verify and report take what mark wrote', async () => {
    writeFolder(at('mixed'), 12);
    writeFileSync(at('mixed/ape/666.png'), '');
    writeFileSync(at('mixed/bee/667.gif'), 'GIF89a');
    symlinkSync(at('owner.key'), at('mixed/bee/668.png'));
    const marked = await run(
      markCommand,
      '--key @owner.key --model @marker.safetensors --data @mixed --fraction 1 --iterations 3 -o @mixed-marked',
    );
    expect(marked.exitCode).toBe(3);
    const { json } = await run(verifyCommand, '--key @owner.key --marked @mixed-marked --original @mixed');
    const said = new Map((json as Verification).checks.map(({ check, state }) => [check, state]));
    for (const check of ['manifest', 'marked images', 'Merkle root', 'originals', 'change and PSNR'])
      expect([check, said.get(check)]).toEqual([check, 'ok']);
    const made = await report('@evidence --marked @mixed-marked --original @mixed -o @mixed.json');
    expect(made.marked).toMatchObject({ marked: 12, of: 15 });
    // What was changed since is found, and does not keep the rest from being checked.
    const { images } = JSON.parse(readFileSync(at('mixed-marked.private/manifest.json'), 'utf8'));
    writeFileSync(at(`mixed-marked/${images[0].id}`), '');
    const again = await run(verifyCommand, '--key @owner.key --marked @mixed-marked --original @mixed');
    const failed = (again.json as Verification).checks.filter(({ state }) => state === 'failed');
    expect(failed.map(({ check }) => check)).toEqual(['marked images', 'change and PSNR']);
    expect(failed[1].detail).toContain(`${images[0].id}: `);
  });

  it('from the result alone', async () => {
    cpSync(at('evidence/result.json'), at('alone.json'));
    const made = await report('@alone.json -o @alone.html');
    expect(made.files.map(({ found }) => found)).toEqual([false, false, false, false]);
    expect(made.marked).toBeNull();
    soundPage(readFileSync(at('alone.html'), 'utf8'));
  });

  it('counts tests that were made later', async () => {
    cpSync(at('owner.key.register.jsonl'), at('later.jsonl'));
    const { index, previous, time, ...look } = (await readRegister(at('later.jsonl'), commitment)).looks[0];
    await enterLook(at('later.jsonl'), commitment, look);
    const made = await report('@evidence --register @later.jsonl -o @later.html');
    expect(made.corrected).toMatchObject({ entry: 1, looks: 2, log10p: bonferroni(Number(result.log10p), 2) });
  });

  it('shows checks that failed', async () => {
    const found = JSON.parse(readFileSync(at('verification.json'), 'utf8'));
    found.checks[0] = { ...found.checks[0], state: 'failed', detail: 'published was another', needs: null };
    // How many failed is counted, whatever the file says.
    writeFileSync(at('failed.json'), JSON.stringify(found));
    const made = await report('@evidence --verification @failed.json -o @failed.html');
    expect(made.headline).toContain('not all that this rests on holds');
    expect(made.verification!.failed).toBe(1);
    expect(soundPage(readFileSync(at('failed.html'), 'utf8')).text()).toContain('✗ failed');
  });

  it('reads verifications of version 1', async () => {
    const { checks, ...found } = JSON.parse(readFileSync(at('verification.json'), 'utf8'));
    const old = checks.map(({ check, detail }: { check: string; detail: string }, i: number) => ({
      check,
      ok: [true, false, null][i % 3],
      detail,
    }));
    writeFileSync(at('first-version.json'), JSON.stringify({ ...found, version: 1, checks: old }));
    const made = await report('@evidence --verification @first-version.json -o @first-version.html');
    expect(made.verification!.checks.slice(0, 3).map(({ state, needs }) => [state, needs !== null])).toEqual([
      ['ok', false],
      ['failed', false],
      ['not checked', true],
    ]);
  });

  it.each([
    ['@evidence -o @x.pdf', 2, '-o @x.pdf: must end with .html or .json'],
    ['@evidence --original @images -o @x.html', 2, '--original goes with --marked'],
    ['-o @x.html', 2, 'EVIDENCE is missing'],
    ['@nowhere -o @x.html', 3, '@nowhere: no such file or folder; check the path'],
    ['@images -o @x.html', 3, '@images/result.json: no such file or folder; check the path'],
    ['@evidence -o @first.html', 3, '@first.html: exists already; choose another name, or remove it'],
    ['@verification.json -o @x.html', 3, '@verification.json: is no result of a test; give a result that detect wrote'],
    [
      '@evidence --verification @evidence/result.json -o @x.html',
      3,
      '@evidence/result.json: is no verification; give what verify -o wrote',
    ],
    [
      '@version2.json -o @x.html',
      3,
      '@version2.json: is a result of a test of version 2, this program reads version 1; use the version of radioactive that wrote it',
    ],
    ['@outside.json -o @x.html', 3, '@outside.json: saved: "../owner.key" is no file\'s name'],
    [
      '@changed -o @x.html',
      6,
      '@changed/features_marking.npy: its SHA-256 is not the one in @changed/result.json; restore it, or remove it for a report without',
    ],
    [
      '@other.json --verification @verification.json -o @x.html',
      6,
      'the verification is of another result; run verify with this one',
    ],
    [
      '@other.json --register @owner.key.register.jsonl -o @x.html',
      6,
      "@owner.key.register.jsonl: its entry 1 is not of @other.json; one of them was changed or is another's",
    ],
    ['@evidence --marked @foreign -o @x.html', 6, '@foreign: was marked with another key, '],
    ['@evidence --marked @marked --original @strangers -o @x.html', 6, '@marked: beside @strangers ape/'],
    ['@evidence --marked @touched --original @images -o @x.html', 6, '@touched: ape/'],
  ])('%s: exit code %i', async (line, exitCode, message) => {
    const change = (name: string, edit: (value: Record<string, unknown>) => object) =>
      writeFileSync(at(name), JSON.stringify(edit(JSON.parse(readFileSync(at('evidence/result.json'), 'utf8')))));
    change('version2.json', (value) => ({ ...value, version: 2 }));
    change('outside.json', (value) => ({ ...value, saved: { '../owner.key': 'a'.repeat(64) } }));
    change('other.json', (value) => ({ ...value, warnings: ['another'], saved: undefined }));
    if (line.includes('@changed') && !existsSync(at('changed'))) {
      cpSync(at('evidence'), at('changed'), { recursive: true });
      writeFileSync(at('changed/features_marking.npy'), 'other');
    }
    if (line.includes('@foreign') && !existsSync(at('foreign'))) {
      for (const part of ['', '.private']) cpSync(at(`marked${part}`), at(`foreign${part}`), { recursive: true });
      const manifest = readFileSync(at('marked.private/manifest.json'), 'utf8');
      writeFileSync(at('foreign.private/manifest.json'), manifest.replace(commitment, '0'.repeat(64)));
    }
    if (line.includes('@strangers') && !existsSync(at('strangers'))) {
      cpSync(at('images'), at('strangers'), { recursive: true });
      const { images } = JSON.parse(readFileSync(at('marked.private/manifest.json'), 'utf8'));
      cpSync(at(`images/${images.at(-1).id}`), at(`strangers/${images[0].id}`));
    }
    if (line.includes('@touched') && !existsSync(at('touched'))) {
      for (const part of ['', '.private']) cpSync(at(`marked${part}`), at(`touched${part}`), { recursive: true });
      const { images } = JSON.parse(readFileSync(at('marked.private/manifest.json'), 'utf8'));
      cpSync(at(`images/${images[0].id}`), at(`touched/${images[0].id}`));
    }
    const error = await (async () => await report(line))().then(
      () => expect.fail('should be refused'),
      (reason: Error & { exitCode: number }) => reason,
    );
    expect(error.message.replaceAll(`${folder}/`, '@')).toContain(message);
    expect(error.message).not.toContain('\n');
    expect(error.exitCode).toBe(exitCode);
    expect(existsSync(at('x.html'))).toBe(false);
  });

  it('detect refuses a page about a result that is not kept', async () => {
    const refused = run(detectCommand, `${DETECT} --report @none.html`);
    await expect(refused).rejects.toThrow('--report goes with --save DIR or -o FILE');
  });
});
