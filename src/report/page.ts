/** A report as one HTML page: no script, nothing from a network, readable on paper. */

import type { CheckState } from '../evidence/check.ts';
import { numberOf, type Result, ResultSchema } from '../evidence/result.ts';
import { escapeMarkup, Markup, markup, type Piece } from '../formats/markup.ts';
import { PLOT_STYLE } from '../plots/plot.ts';
import { classFigure, NAMED_CLASSES, nullFigure } from './figures.ts';
import { FRESH_KEYS, suspectName } from './report.ts';
import type { Report } from './schema.ts';
import STYLE from './style.css?raw';
import {
  counted,
  groupDigits,
  writtenDay,
  writtenLog10,
  writtenProbability,
  writtenScore,
  writtenTime,
} from './words.ts';

/** An image as the page shows it. */
export interface ShownImage {
  /** A data URI. */
  readonly uri: string;
  readonly width: number;
  readonly height: number;
}

/** One of `Report.marked.examples` in pictures. */
export interface ShownExample {
  readonly original: ShownImage;
  readonly marked: ShownImage;
  /** What changed, ten times as strong, around grey. */
  readonly difference: ShownImage;
}

/** Widths of plots, in pixels: on paper and screens, and on telephones. */
const WIDE = 712;
const NARROW = 343;
/** Images up to this width are shown in two columns. */
const SMALL_IMAGE = 128;

/**
 * The page.
 *
 * @param pictures as many as the report has examples, in their order.
 */
export function reportPage(report: Report, pictures: readonly ShownExample[] = []): string {
  const { result, headline, verdict } = report;
  const page = markup`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'"/>
<meta name="generator" content="radioactive ${report.program}"/>
<title>${suspectName(result)}: report of a radioactive-data test, p = ${report.corrected.written}</title>
<style>
${new Markup(`${PLOT_STYLE}${STYLE}`.replaceAll(/\/\*.*?\*\/\n?/gs, ''))}</style>
</head>
<body>
<main>
<header>
<p class="kicker">Report of a test for radioactive data: ${suspectName(result)}, tested on ${writtenDay(result.time)}</p>
<h1>${prose(headline)}</h1>
</header>
${numbers(report)}
<section aria-label="Finding">
${verdict.map((paragraph) => markup`<p>${prose(paragraph)}</p>\n`)}</section>
${section('What was tested', whatWasTested(report))}
${section('The evidence', evidence(report))}
${report.marked && section('Marked images', markedImages(report.marked, pictures))}
${section('What this rests on, and how it was checked', assumptions(report))}
${report.verification && section('What was verified', verification(report.verification))}
${section('Limits', markup`<ul>${report.limits.map((limit) => markup`<li>${prose(limit)}</li>\n`)}</ul>`)}
${section('How to check it', howToCheck(report))}
${section('Words', words())}
<footer class="note">
<p>Written on ${writtenTime(report.time)} by radioactive ${report.program} from the result with SHA-256 <span class="hash">${report.resultSha256}</span> (as canonical JSON, without what its register says). Everything here is computed from stored files; the same as JSON comes from <code>radioactive report --json</code>.</p>
</footer>
</main>
</body>
</html>
`;
  return page.text;
}

const section = (title: string, content: Piece): Markup => markup`<section>
<h2>${title}</h2>
${content}
</section>`;

/**
 * A text with its hashes set small and its powers of ten set high. The caret is there for those who copy it, and the minus as they
 * write it; what is seen in its place is a true minus, from the style sheet.
 */
function prose(text: string): Markup {
  return new Markup(
    escapeMarkup(text)
      .replaceAll(/\b[0-9a-f]{64}\b/g, (digits) => `<code>${digits}</code>`)
      .replaceAll(
        /\b10\^(-?)(\d+(?:\.\d+)?)/g,
        (_, sign: string, exponent: string) =>
          `<span class="power">10<span class="caret">^${sign}</span><sup${sign && ' class="minus"'}>${exponent}</sup></span>`,
      ),
  );
}

const hash = (sha256: string): Markup => markup`<span class="hash">${sha256}</span>`;

/** What a model is: its files by name, with their hashes. */
const filesOf = (record: Readonly<Record<string, string>>): Piece =>
  Object.entries(record).map(([name, value]) =>
    /sha256$/i.test(name)
      ? markup`<span class="hash">${name === 'sha256' ? 'SHA-256' : name} ${value}</span>`
      : markup`<div>${name === 'path' ? null : `${name}: `}<bdi>${value}</bdi></div>`,
  );

/** Two columns: what, and its value. */
const facts = (rows: readonly (readonly [string, Piece] | null)[]): Markup =>
  markup`<dl class="facts">
${rows.map((row) => row && markup`<dt>${row[0]}</dt><dd>${row[1]}</dd>\n`)}</dl>`;

/** Beside a bound there is no exact number. */
const log10Note = (full: boolean, log10p: Result['log10p']): Piece =>
  full && markup`<small>log10 p ${writtenLog10(numberOf(log10p))}</small>`;

function numbers({ raw, corrected, statistics, evidence, full }: Report): Markup {
  const sample = statistics.find(({ decides }) => decides)?.null;
  return markup`<dl class="numbers">
<div><dt>Probability of such a result if the carriers were independent of the model</dt><dd>${prose(raw.written)}${log10Note(full, raw.log10p)}</dd></div>
<div${evidence === 'strong' && markup` class="strong"`}><dt>Corrected for ${corrected.complete ? counted(corrected.looks, 'test') : `the ${counted(corrected.looks, 'test')} that ${corrected.looks === 1 ? 'is' : 'are'} known`} with the key</dt><dd>${prose(corrected.written)}${log10Note(full, corrected.log10p)}</dd></div>
${
  sample &&
  markup`<div><dt>${sample.kind === FRESH_KEYS ? 'Keys that marked nothing' : sample.kind} with a result as strong</dt><dd>${groupDigits(sample.atMost)}<small>of ${groupDigits(sample.count)}</small></dd></div>\n`
}</dl>`;
}

function whatWasTested({ result, files, corrected }: Report): Markup {
  const { suspect, markingModel, data, key, keyCommitment, program, command, carriers, test, blackBox } = result;
  const options = Object.entries(key.statistic)
    .filter(([name]) => name !== 'kind')
    .map(([name, value]) => `${name} ${value}`);
  return markup`${facts([
    ['Model under test', filesOf(suspect)],
    ['Test', `${test}${options.length > 0 ? `; options of the key: ${options.join(', ')}` : ''}`],
    ['Key', markup`made on ${writtenTime(key.created)}, with the commitment${hash(keyCommitment)}`],
    [
      'Classes',
      markup`${counted(key.classes.length, 'class', 'classes')}: <bdi>${key.classes.slice(0, NAMED_CLASSES).join(', ')}</bdi>${key.classes.length > NAMED_CLASSES && ', …'}`,
    ],
    [
      'Carriers',
      markup`${carriers.kind === 'subspace' ? `in a subspace of ${carriers.dimension} dimensions` : `${carriers.kind}, in ${carriers.dimension} dimensions`}${hash(carriers.sha256)}`,
    ],
    [
      'Marking network',
      markup`${markingModel.architecture}, ${groupDigits(markingModel.featureDimension)} features${hash(markingModel.sha256)}`,
    ],
    [
      'Images tested on',
      blackBox
        ? markup`probes <bdi>${blackBox.probes.path}</bdi>, taken from ${groupDigits(data.count)} images; hash of their listing${hash(data.sha256)}`
        : markup`${groupDigits(data.count)} images, <bdi>${data.path}</bdi>; hash of their listing${hash(data.sha256)}`,
    ],
    [
      'Tests with this key',
      markup`this is number ${corrected.entry} of ${corrected.looks}${corrected.complete ? '' : ', on a list that was begun after the key'}${result.register.sha256 === null ? null : [markup`; entry of the list`, hash(result.register.sha256)]}`,
    ],
    ['When', writtenTime(result.time)],
    ['Program', `radioactive ${program.version}, Node ${program.node}, on ${program.adapter}`],
    ['Command', markup`<code>${command.join(' ')}</code>`],
    files.length === 0
      ? null
      : [
          'Stored arrays',
          files.map(
            ({ name, sha256, found }) =>
              markup`<div><bdi>${name}</bdi>${found ? ', there and unchanged' : ', not at hand for this report'}</div>${hash(sha256)}`,
          ),
        ],
    ...furtherFigures(result),
  ])}`;
}

/** Figures of a result that only its test knows, whatever they are. */
function furtherFigures(result: Report['result']): (readonly [string, Piece])[] {
  return Object.entries(result)
    .filter(([name]) => !Object.hasOwn(ResultSchema.entries, name))
    .map(([name, value]) => [name, shortValue(value)] as const);
}

function shortValue(value: unknown): string {
  if (Array.isArray(value)) return counted(value.length, 'value');
  if (typeof value === 'object' && value !== null)
    return Object.entries(value)
      .map(([name, entry]) => `${name} ${shortValue(entry)}`)
      .join(', ');
  return String(value);
}

/** Names of a statistic's fields that every statistic has. */
const STATISTIC_FIELDS: ReadonlySet<string> = new Set(['name', 'log10p', 'exact', 'perClass', 'null']);

function evidence(report: Report): Piece {
  const { result, statistics, full } = report;
  const { alignment, dimension, meanCosine } = result;
  return [
    statistics.length > 1 &&
      markup`<table>
<thead><tr><th>statistic</th><th>role</th><th class="number">log10 p</th><th class="number">p</th><th class="number">null, as strong</th></tr></thead>
<tbody>${statistics.map(
        ({ name, decides, exact, log10p, written, null: sample }) =>
          markup`<tr><td>${name}</td><td>${decides ? 'decides' : 'for comparison'}${exact ? '' : ', approximation'}</td><td class="number">${full ? writtenLog10(numberOf(log10p)) : '–'}</td><td class="number">${prose(written)}</td><td class="number">${sample ? `${groupDigits(sample.atMost)} of ${groupDigits(sample.count)}` : '–'}</td></tr>\n`,
      )}</tbody>
</table>`,
    result.statistics.map((statistic, i) => {
      const repeats = result.statistics.slice(0, i).some((earlier) => tellsClassesOf(earlier, statistic));
      return statisticSection(report, statistic, statistics[i], repeats);
    }),
    result.blackBox && blackBoxSection(result.blackBox),
    alignment && [
      markup`<h3>How well the two networks could be compared</h3>
<p class="note">The weights of the model were taken over into the features of the marking network, by a linear map fitted on the images tested on. The better the map, the more the test can see; a bad one makes it weaker, not wrong.</p>`,
      facts([
        ['Images', groupDigits(alignment.n)],
        ['Rank', `${groupDigits(alignment.rank)} of ${groupDigits(result.markingModel.featureDimension)} features`],
        [
          'Explained',
          `r² = ${writtenScore(numberOf(alignment.r2))}: the share of the features of the model that those of the marking network explain`,
        ],
        dimension === undefined ? null : ['Dimension', `cosines are taken in ${groupDigits(dimension)} dimensions`],
        meanCosine === undefined ? null : ['Mean cosine', writtenScore(numberOf(meanCosine))],
      ]),
    ],
  ];
}

function statisticSection(
  { result }: Report,
  statistic: Result['statistics'][number],
  described: Report['statistics'][number],
  /** Whether another statistic's section shows the same of the classes. */
  repeats: boolean,
): Markup {
  const { perClass, name } = statistic;
  const sample = described.null;
  const cosines = cosineDimensionOf(result, statistic);
  const wide = nullFigure(statistic, WIDE);
  const byClass = repeats ? null : classFigure(statistic, cosines, WIDE);
  const further = Object.entries(statistic).filter(([field]) => !STATISTIC_FIELDS.has(field));
  return markup`<h3>${name}${described.decides ? ', the statistic that decides' : ', for comparison'}${!described.exact && ': an approximation'}</h3>
<p>Probability ${prose(described.written)}, ${prose(described.words)}. ${!described.exact && 'It is an approximation and no p-value.'}</p>
${further.length > 0 && facts(further.map(([field, value]) => [field, shortValue(value)] as const))}
${
  wide &&
  sample &&
  markup`<figure>${responsive(wide, nullFigure(statistic, NARROW))}
<figcaption>${nullCaption(sample)}</figcaption></figure>`
}
${
  byClass &&
  markup`<figure>${responsive(byClass, classFigure(statistic, cosines, NARROW))}
<figcaption>${classCaption(statistic, cosines)}</figcaption></figure>`
}
${repeats ? null : perClass.length > 0 && classTable(statistic, cosines)}`;
}

/** Whether one statistic tells of the classes all that another does. */
function tellsClassesOf(one: Result['statistics'][number], other: Result['statistics'][number]): boolean {
  return (
    one.perClass.length === other.perClass.length &&
    other.perClass.every((entry, c) => {
      const same = one.perClass[c];
      return (
        entry.class === same.class &&
        entry.score === same.score &&
        (entry.log10p === null || entry.log10p === same.log10p) &&
        Object.keys(entry).every((name) => Object.hasOwn(same, name))
      );
    })
  );
}

/** What the black-box test asked for, and what it took away. */
function blackBoxSection(blackBox: NonNullable<Result['blackBox']>): Markup {
  const { sets, imagesPerClass, scores, control, probes, references } = blackBox;
  const beta = control.beta.map((value) => writtenScore(numberOf(value)));
  return markup`<h3>How the answers were compared</h3>
<p class="note">The model was asked about images that were marked towards the true carriers, and about the same images marked towards decoys, sets of carriers drawn in the same way. Reference models show how any model answers: that much was taken away. One that saw the mark, or was made for this suspect, can make evidence and can hide it.</p>
${facts([
  ['Sets of carriers', `${groupDigits(sets)}: the true one and ${counted(sets - 1, 'decoy')}`],
  ['Images', `${groupDigits(imagesPerClass)} of each class, each marked towards every set`],
  ['Asked for', scores],
  ['Probes', markup`<bdi>${probes.path}</bdi>; their list${hash(probes.sha256)}`],
  [
    'Reference models',
    references.length === 0
      ? 'none'
      : references.map((reference, i) => [
          filesOf(reference),
          beta[i] !== undefined && markup`<div class="note">its answers count ${beta[i]} times</div>`,
        ]),
  ],
  references.length === 0
    ? null
    : ['Explained by them', `${(100 * numberOf(control.explained)).toFixed(1)} % of the variation between sets`],
])}`;
}

/** Where the scores of a statistic are the cosines of the result: the dimension of their space. */
function cosineDimensionOf(
  { dimension, perClass }: Pick<Result, 'dimension' | 'perClass'>,
  statistic: Result['statistics'][number],
): number | null {
  if (dimension === undefined || perClass?.length !== statistic.perClass.length) return null;
  return perClass.every(({ cosine }, c) => cosine === statistic.perClass[c].score) ? dimension : null;
}

const responsive = (wide: Markup, narrow: Markup | null): Markup =>
  markup`<div class="wide">${wide}</div><div class="narrow">${narrow}</div>`;

function nullCaption({ kind, count, atMost, uniformity }: NonNullable<Report['statistics'][number]['null']>): Piece {
  const what =
    kind === FRESH_KEYS
      ? `The same statistic of the same model under ${groupDigits(count)} keys that marked nothing. `
      : kind === 'decoys'
        ? `Each of ${counted(count, 'set')} of decoys taken for the true one. `
        : `${counted(count, 'value')} where there is nothing to find (${kind}). `;
  return [
    what,
    `Further to the left is stronger. As strong as the result, or stronger: ${groupDigits(atMost)}.`,
    uniformity &&
      ` The dashed line is what valid p-values give on average; that the bars follow it was tested (Kolmogorov and Smirnov, probability ${writtenProbability(Math.log10(numberOf(uniformity.p)))}: ${uniformity.passed ? 'they do' : 'they do not'}).`,
  ];
}

function classCaption({ perClass }: Result['statistics'][number], cosines: number | null): string {
  const many = perClass.length > NAMED_CLASSES;
  const shown = cosines !== null || perClass.every(({ log10p }) => log10p !== null);
  const what =
    cosines === null
      ? shown
        ? 'The probability of each class by itself. '
        : 'The score of each class; larger is more evidence. '
      : 'How far the weights of each class point along its carrier: 1 is exactly along it, 0 across. ';
  if (!shown) return what.trim();
  return `${what}${
    many
      ? 'The band is where 99 of 100 classes of the same rank would lie by chance.'
      : 'The shaded ranges are where 90 % and 99 % of classes would lie by chance.'
  }`;
}

function classTable({ perClass }: Result['statistics'][number], cosines: number | null): Markup {
  const table = markup`<table>
<thead><tr><th>class</th><th class="number">${cosines === null ? 'score' : 'cosine'}</th><th class="number">log10 p</th><th class="number">p</th></tr></thead>
<tbody>${perClass.map((entry) => {
    const log10p = entry.log10p === null ? null : numberOf(entry.log10p);
    return markup`<tr><td><bdi>${entry.class}</bdi></td><td class="number">${writtenScore(numberOf(entry.score))}</td><td class="number">${log10p === null ? '–' : writtenLog10(log10p)}</td><td class="number">${log10p === null ? '–' : prose(writtenProbability(log10p))}</td></tr>\n`;
  })}</tbody>
</table>`;
  return perClass.length > NAMED_CLASSES
    ? markup`<details><summary>All ${groupDigits(perClass.length)} classes</summary>${table}</details>`
    : table;
}

function markedImages(marked: NonNullable<Report['marked']>, pictures: readonly ShownExample[]): Markup {
  const large = pictures.some(({ original }) => original.width > SMALL_IMAGE);
  const decibels = (value: number | null): string => (value === null ? 'no change' : `${value.toFixed(1)} dB`);
  return markup`${facts([
    ['Marked', `${groupDigits(marked.marked)} of ${counted(marked.of, 'image')}, ${share(marked.marked / marked.of)}`],
    [
      'Largest change',
      `${counted(marked.maxChangeLevels, 'level')} of 255 in any pixel${marked.options.radiusLevels === undefined ? '' : `; allowed were ${marked.options.radiusLevels}${marked.maxChangeLevels > Number(marked.options.radiusLevels) ? ' before files were encoded' : ''}`}`,
    ],
    ['PSNR', `median ${decibels(marked.psnrMedian)}, lowest ${decibels(marked.psnrMin)}`],
    ['Data set', markup`<bdi>${marked.path}</bdi>; its commitment${hash(marked.commitment)}`],
    ['Merkle root', hash(marked.merkleRoot)],
  ])}
${
  pictures.length > 0 &&
  markup`<p class="note">Each row: the original, the image as it was published, and what changed, ten times as strong around grey. Shown are the first marked images of each class in turn; the middle of images that are larger. Every one of them was compared with what the manifest says of it.</p>
<div class="pictures${large && ' large'}">
${pictures.map((shown, i) => {
  const example = marked.examples[i];
  const img = ({ uri, width, height }: ShownImage, name: string): Markup =>
    markup`<div><img src="${uri}" width="${width}" height="${height}" alt="${name} of ${example.id}"/><span>${name}</span></div>`;
  return markup`<figure><div class="triple">${img(shown.original, 'original')}${img(shown.marked, 'marked')}${img(shown.difference, 'difference ×10')}</div>
<figcaption><bdi>${example.class}</bdi>, <bdi>${example.id}</bdi>: ${decibels(example.psnr)}, at most ${counted(example.maxChangeLevels, 'level')}</figcaption></figure>\n`;
})}</div>`
}`;
}

const share = (x: number): string => `${(100 * x).toPrecision(3)} %`;

/** Said in words too: colours are lost on paper. */
const MARKS = {
  good: markup`<span class="mark good">✓ holds</span>`,
  bad: markup`<span class="mark bad">✗ does not hold</span>`,
  open: markup`<span class="mark open">– open</span>`,
};
const markOf = (holds: boolean | null): Markup => (holds === null ? MARKS.open : holds ? MARKS.good : MARKS.bad);

function assumptions({ assumptions }: Report): Markup {
  return markup`<p class="note">“Open” is what this report cannot tell: its check needs what was not at hand, and is named.</p>
<table class="stacked">
<thead><tr><th>assumption</th><th>check</th><th></th></tr></thead>
<tbody>${assumptions.map(
    ({ assumption, check, holds }) =>
      markup`<tr><td class="what">${prose(assumption)}</td><td>${prose(check)}</td><td>${markOf(holds)}</td></tr>\n`,
  )}</tbody>
</table>`;
}

const STATES: Readonly<Record<CheckState, Markup>> = {
  ok: markup`<span class="mark good">✓ in order</span>`,
  failed: markup`<span class="mark bad">✗ failed</span>`,
  'not checked': markup`<span class="mark open">– not checked</span>`,
};

function verification({
  time,
  program,
  passed,
  failed,
  notChecked,
  checks,
  limits,
}: NonNullable<Report['verification']>): Markup {
  return markup`<p>With the key at hand, radioactive ${program} checked on ${writtenTime(time)}: ${passed} in order, ${failed} failed, ${notChecked} not checked.</p>
<table class="stacked">
<thead><tr><th>check</th><th>finding</th><th></th></tr></thead>
<tbody>${checks.map(
    ({ check, state, detail, needs }) =>
      markup`<tr><td class="what">${check}</td><td>${prose(needs === null ? detail : `${detail}. Would be checked by: ${needs}`)}</td><td>${STATES[state]}</td></tr>\n`,
  )}</tbody>
</table>
${limits.length > 0 && markup`<p>What no check can tell:</p>\n<ul>${limits.map((limit) => markup`<li>${prose(limit)}</li>\n`)}</ul>`}`;
}

function howToCheck({ commands }: Report): Markup {
  return markup`<p>Nothing here has to be believed. The program is free; with the key, which its holder reveals for that, and the files named above, anybody can do this:</p>
${commands.map(({ purpose, command }) => markup`<p>${prose(purpose)}</p>\n<pre><code>${command}</code></pre>\n`)}`;
}

function words(): Markup {
  return facts([
    [
      'Carrier',
      'A direction, drawn by chance from the key, for each class of images. Marking moves what the marking network makes of an image along it.',
    ],
    [
      'Commitment',
      'A number that fixes the key without giving it away. Once it is published or time-stamped, the key cannot be changed any more without everybody seeing it.',
    ],
    [
      'log10 p',
      prose('The exponent of a probability: log10 p = −4 is 10^-4, one in ten thousand. Smaller is stronger evidence.'),
    ],
    [
      'Correction',
      'Whoever makes many tests will once find something by chance. Multiplying the probability by the number of tests (Bonferroni) allows for that.',
    ],
    ['SHA-256', 'A fingerprint of a file. Two files with the same one are the same file.'],
  ]);
}
