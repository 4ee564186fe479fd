import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { type Markup, markup } from '../src/formats/markup.ts';
import { histogram } from '../src/plots/histogram.ts';
import { type Layer, type PlotOptions, plot, svgFile } from '../src/plots/plot.ts';
import { type Axis, log10PAxis, plainNumber, positionOn, powerOfTen, roundStep, ticksOf } from '../src/plots/scale.ts';
import { derive } from '../src/random.ts';

const labelsOf = (axis: Axis, count = 5): string[] => ticksOf(axis, count).map(({ label }) => label);

describe('markup', () => {
  it('escapes every text, in lists and attributes too, and no markup', () => {
    const hostile = `<b a='1' c="2">&amp;</b>`;
    const escaped = '&lt;b a=&#39;1&#39; c=&quot;2&quot;&gt;&amp;amp;&lt;/b&gt;';
    const inner = markup`<i title="${hostile}">${[hostile, null, [false, 0]]}</i>`;
    expect(markup`${inner}${undefined}`.text).toBe(`<i title="${escaped}">${escaped}0</i>`);
  });

  it('writes out what nobody would see', () => {
    const text = 'a\u202eb\0c\ud800d\u200be\ufefff\u2028g\nh\u{1f600}i\u0301';
    expect(markup`${text}`.text).toBe('a\\u202eb\\u0000c\\ud800d\\u200be\\ufefff\\u2028g\nh\u{1f600}i\u0301');
  });
});

describe('axes', () => {
  it('place values, whichever way they run', () => {
    const positions = (axis: Axis, values: readonly number[]) => values.map((value) => positionOn(axis, value) + 0);
    expect(positions({ label: '', domain: [0, 4] }, [0, 1, 4, 8])).toEqual([0, 0.25, 1, 2]);
    expect(positions({ label: '', domain: [0, -20] }, [0, -5, -20, Number.NEGATIVE_INFINITY])).toEqual([
      0,
      0.25,
      1,
      Number.POSITIVE_INFINITY,
    ]);
    expect(positions({ label: '', domain: [0.01, 1], scale: 'log10' }, [0.01, 0.1, 1])).toEqual([0, 0.5, 1]);
  });

  it('have round ticks', () => {
    expect(labelsOf({ label: '', domain: [0, 1] })).toEqual(['0', '0.2', '0.4', '0.6', '0.8', '1']);
    expect(labelsOf({ label: '', domain: [30, -0.7] })).toEqual(['0', '10', '20', '30']);
    expect(labelsOf({ label: '', domain: [-1e-7, 1e-7] }, 2)).toEqual(['−1e−7', '0', '1e−7']);
    expect(labelsOf({ label: '', domain: [0, 40000] }, 2)).toEqual(['0', '20 000', '40 000']);
    expect(labelsOf({ label: '', domain: [0.01, 0.5], scale: 'log10', format: (x) => `${100 * x} %` })).toEqual(
      [1, 2, 5, 10, 20, 50].map((percent) => `${percent} %`),
    );
    expect(labelsOf({ label: '', domain: [1, 1e6], scale: 'log10' }, 3)).toEqual(['1', '100', '10 000', '1 000 000']);
    for (const [least, step] of [
      [0.03, 0.05],
      [1, 1],
      [1.01, 2],
      [6, 10],
      [450, 500],
    ])
      expect(roundStep(least)).toBe(step);
  });

  it('of log10 p read as probabilities', () => {
    expect(labelsOf(log10PAxis('p', [-20, 0], 4))).toEqual(['10⁻²⁰', '10⁻¹⁵', '10⁻¹⁰', '10⁻⁵', '1']);
    expect(labelsOf(log10PAxis('p', [0, -2.6]))).toEqual(['10⁻²', '10⁻¹', '1']);
    expect(labelsOf(log10PAxis('p', [-1.4, 0]))).toEqual(['0.05', '0.1', '0.2', '0.5', '1']);
    expect(labelsOf(log10PAxis('p', [-5000, 0], 2))).toEqual(['10⁻⁵⁰⁰⁰', '1']);
    expect(powerOfTen(-3485.3)).toBe('10⁻³⁴⁸⁵·³');
    expect(plainNumber(-1234567)).toBe('−1 234 567');
  });
});

describe('a histogram', () => {
  it('counts each value once, also at the ends', () => {
    const random = derive(3, 'histogram');
    const values = Array.from({ length: 500 }, () => -4 * random.uniform());
    values.push(-4, 0, -1, -4.001, 0.001, Number.NEGATIVE_INFINITY);
    const { bars, below, above } = histogram(values, { from: -4, to: 0, step: 0.25 });
    expect(bars).toHaveLength(16);
    for (const [i, { from, to, height }] of bars.entries()) {
      expect(from).toBeCloseTo(-4 + i / 4, 12);
      expect(height).toBe(values.filter((x) => x >= from && (x < to || (i === 15 && x === 0))).length);
    }
    expect([below, above]).toEqual([2, 1]);
    expect(() => histogram([0], { from: 0, to: 1, step: 0.3 })).toThrow(RangeError);
    expect(() => histogram([Number.NaN], { from: 0, to: 1, step: 0.5 })).toThrow(RangeError);
  });
});

/** A plot of 100 by 100 units and what is in it, by class. */
function draw(
  layers: readonly Layer[],
  options: Partial<PlotOptions> = {},
): { svg: Markup; of: (name: string) => string[] } {
  const svg = plot({
    title: 'a plot',
    width: 400,
    height: 300,
    x: { label: 'x', domain: [0, 100] },
    y: { label: 'y', domain: [0, 100] },
    layers,
    ...options,
  });
  const elements = svg.text.match(/<(?!\/)[^>]+>/g)!;
  return {
    svg,
    of: (name) => elements.filter((element) => (/ class="([^"]*)"/.exec(element)?.[1] ?? '').split(' ').includes(name)),
  };
}
const numbersOf = (text: string): number[] => [...text.matchAll(/-?\d+(\.\d+)?/g)].map(([digits]) => Number(digits));
const attribute = (element: string, name: string): number => Number(new RegExp(` ${name}="([^"]*)"`).exec(element)![1]);

/** Where the plot's corners are, from a line along its diagonal. */
function frameOf(layers: readonly Layer[]) {
  const { of } = draw([
    ...layers,
    {
      kind: 'line',
      points: [
        [0, 0],
        [100, 100],
      ],
    },
  ]);
  const [left, bottom, right, top] = numbersOf(/ d="([^"]*)"/.exec(of('line').at(-1)!)![1]);
  return {
    x: (v: number) => left + (v / 100) * (right - left),
    y: (v: number) => bottom - (v / 100) * (bottom - top),
  };
}

describe('a plot', () => {
  it('puts points, intervals, bands, bars and spans where their values are', () => {
    const layers: Layer[] = [
      { kind: 'span', from: 20, to: 40 },
      {
        kind: 'bars',
        bars: [
          { from: 0, to: 50, height: 30 },
          { from: 50, to: 100, height: 0 },
        ],
      },
      {
        kind: 'band',
        points: [
          { x: 10, low: 20, high: 60 },
          { x: 90, low: 30, high: 40 },
        ],
      },
      { kind: 'points', points: [{ x: 25, y: 75, low: 50, high: 80, title: 'here' }] },
      { kind: 'rule', y: 60, label: 'sixty' },
    ];
    const { x, y } = frameOf(layers);
    const { of, svg } = draw(layers);
    const close = (found: number, expected: number) => expect(Math.abs(found - expected)).toBeLessThan(0.11);
    const [span] = of('span');
    close(attribute(span, 'x'), x(20));
    close(attribute(span, 'width'), x(40) - x(20));
    expect(of('bar')).toHaveLength(1);
    close(attribute(of('bar')[0], 'y'), y(30));
    close(attribute(of('bar')[0], 'x'), x(0));
    const corners = [x(10), y(60), x(90), y(40), x(90), y(30), x(10), y(20)];
    for (const [i, value] of numbersOf(/ d="([^"]*)"/.exec(of('band')[0])![1]).entries()) close(value, corners[i]);
    const [whisker] = of('whisker');
    close(attribute(whisker, 'x1'), x(25));
    close(attribute(whisker, 'y1'), y(50));
    close(attribute(whisker, 'y2'), y(80));
    close(numbersOf(/ d="M([^"]*)"/.exec(of('point')[0])![1])[1], y(75));
    close(attribute(of('rule')[0], 'y1'), y(60));
    expect(svg.text).toContain('<title>here</title>');
    expect(svg.text).toContain('>sixty</text>');
  });

  it('interrupts lines at NaN, leaves out such points, and shows what is beyond as arrows', () => {
    const { of } = draw([
      {
        kind: 'line',
        points: [
          [0, 10],
          [20, 20],
          [40, Number.NaN],
          [60, 30],
          [80, Number.NEGATIVE_INFINITY],
        ],
      },
      {
        kind: 'points',
        points: [
          { x: 10, y: Number.NaN },
          { x: 10, y: Number.NEGATIVE_INFINITY },
          { x: 500, y: 50 },
          { x: 50, y: 50 },
        ],
      },
      { kind: 'rule', x: -4000, label: 'far', strong: true },
    ]);
    const path = / d="([^"]*)"/.exec(of('line')[0])![1];
    expect(path.match(/M/g)).toHaveLength(2);
    expect(path).not.toMatch(/NaN|Infinity/);
    const points = of('point');
    expect(points).toHaveLength(3);
    // Arrows are straight, markers of the first series round.
    expect(points.map((point) => point.includes('a'.concat('4')))).toEqual([false, false, true]);
    expect(of('head')).toHaveLength(1);
  });

  it('names a series once in the legend, in as many rows as they need', () => {
    const layers: Layer[] = Array.from({ length: 8 }, (_, i) => [
      { kind: 'band' as const, points: [{ x: 0, low: 0, high: 1 }], series: i + 1 },
      { kind: 'line' as const, points: [[0, i] as const], series: i + 1, name: `key ${i}` },
      { kind: 'points' as const, points: [{ x: 0, y: i }], series: i + 1, name: `key ${i}` },
    ]).flat();
    const { svg } = draw(layers);
    for (let i = 0; i < 8; i++) expect(svg.text.split(`>key ${i}</text>`)).toHaveLength(2);
    expect(new Set([...svg.text.matchAll(/y="([\d.]+)">key/g)].map(([, y]) => y)).size).toBeGreaterThan(1);
    for (const [, x] of svg.text.matchAll(/x="([\d.]+)" y="[\d.]+">key/g)) expect(Number(x)).toBeLessThan(400);
  });

  it('is a file of its own that other programs draw, whatever the names are', async () => {
    const hostile = `]]></svg><script>alert("1")</script>&nbsp;'\0\u202e`;
    const { svg } = draw(
      [
        { kind: 'points', points: [{ x: 1, y: 1, title: hostile }], name: hostile, series: 0 },
        { kind: 'rule', x: 50, label: hostile },
        {
          kind: 'line',
          points: [
            [0, 0],
            [100, 100],
          ],
          dashed: true,
          name: 'line',
        },
        { kind: 'bars', bars: [{ from: 0, to: 10, height: 5 }], name: 'bars' },
        { kind: 'span', from: 0, to: 10, name: 'span' },
      ],
      {
        title: hostile,
        x: { label: hostile, domain: [0, 100] },
        y: { label: hostile, domain: [0, 1], ticks: [{ at: 0.5, label: hostile.repeat(9) }] },
      },
    );
    const file = svgFile(svg);
    expect(file).not.toContain('<script');
    expect(file).toContain('prefers-color-scheme: dark');
    // librsvg refuses what is not well-formed XML.
    const { width, height } = await sharp(Buffer.from(file))
      .png()
      .toBuffer({ resolveWithObject: true })
      .then(({ info }) => info);
    expect([width, height]).toEqual([400, 300]);
  });
});
