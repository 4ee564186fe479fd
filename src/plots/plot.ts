/**
 * Plots as SVG, without a browser: lines with intervals, points, histograms, reference lines, on linear, logarithmic and log10 p
 * axes. Colours are those of plot.css, for light and dark; in a page include {@link PLOT_STYLE} once, for a file of its own take
 * {@link svgFile}.
 */

import { type Markup, markup, type Piece, Markup as Raw } from '../formats/markup.ts';
import PLOT_STYLE from './plot.css?raw';
import { type Axis, positionOn, ticksOf } from './scale.ts';

export { PLOT_STYLE };

/** How a layer looks: 0 stands out, 1 to 6 are series of equal rank, which then begin anew. */
type Series = number;

/** Bars on the x axis, each from one value to another. */
export interface Bars {
  readonly kind: 'bars';
  readonly bars: readonly { readonly from: number; readonly to: number; readonly height: number }[];
  readonly series?: Series;
  /** For the legend. */
  readonly name?: string;
}

/** A line through points. One without a y (NaN) interrupts it; beyond the axes it runs along their ends. */
export interface Line {
  readonly kind: 'line';
  readonly points: readonly (readonly [x: number, y: number])[];
  readonly dashed?: boolean;
  readonly series?: Series;
  readonly name?: string;
}

/** The area between two curves: an interval for each x. */
export interface Band {
  readonly kind: 'band';
  readonly points: readonly { readonly x: number; readonly low: number; readonly high: number }[];
  readonly series?: Series;
  readonly name?: string;
}

/** Markers, with an interval in y where they have one. One beyond the axes stands at their end as an arrow. */
export interface Points {
  readonly kind: 'points';
  readonly points: readonly {
    readonly x: number;
    readonly y: number;
    readonly low?: number | undefined;
    readonly high?: number | undefined;
    /** Shown by a browser when pointed at. */
    readonly title?: string | undefined;
  }[];
  /** For very many. */
  readonly small?: boolean;
  readonly series?: Series;
  readonly name?: string;
}

/** A reference line at a value of x or of y, with what it is. Beyond the x axis it is an arrow at its end. */
export type Rule = {
  readonly kind: 'rule';
  readonly label?: string | undefined;
  /** The one that the plot is about. */
  readonly strong?: boolean;
} & ({ readonly x: number } | { readonly y: number });

/** A range of x over the whole height, shaded; several over each other grow darker. */
export interface Span {
  readonly kind: 'span';
  readonly from: number;
  readonly to: number;
  readonly name?: string;
}

/** Drawn in the order given. */
export type Layer = Bars | Line | Band | Points | Rule | Span;

export interface PlotOptions {
  /** What is shown, in a sentence, for those who do not see it. */
  readonly title: string;
  /** In pixels. */
  readonly width: number;
  readonly height: number;
  readonly x: Axis;
  readonly y: Axis;
  readonly layers: readonly Layer[];
}

const LINE = 16;
const PADDING = 8;
const TICK = 6;
/** Pixels a tick's label wants for itself on the x axis, and a tick on the y axis. */
const TICK_WIDTH = 74;
const TICK_HEIGHT = 38;
const MARKER = 4;
const SMALL_MARKER = 2;
const LEGEND_KEY = 18;

/** An SVG element, for a page that has {@link PLOT_STYLE}. */
export function plot(options: PlotOptions): Markup {
  const { title, width, height, layers } = options;
  const { y } = options;
  const yTicks = ticksOf(y, Math.max(2, Math.floor(height / TICK_HEIGHT)));
  const widest = Math.max(0, ...yTicks.map(({ label }) => textWidth(label)));
  const left = PADDING + Math.min(widest, 0.4 * width) + TICK + 2;
  const right = width - PADDING - 8;
  const legend = placeLegend(layers, left, right);
  const rules = placeRuleLabels(options, left, right);
  const top = PADDING + (y.label ? LINE + 4 : 0) + legend.rows * (LINE + 2) + rules.rows * LINE + 4;
  const bottom = height - PADDING - LINE - (options.x.label ? LINE + 2 : 0) - 2;
  const frame: Frame = {
    left,
    right,
    top,
    bottom,
    x: (value) => left + positionOn(options.x, value) * (right - left),
    y: (value) => bottom - positionOn(y, value) * (bottom - top),
  };
  const xTicks = ticksOf(options.x, Math.max(2, Math.floor((right - left) / TICK_WIDTH)));
  const legendTop = PADDING + (y.label ? LINE + 4 : 0);
  const rulesTop = legendTop + legend.rows * (LINE + 2);
  return markup`<svg class="plot" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${title}">
${[
  yTicks.flatMap(({ at, label }) => {
    const py = frame.y(at);
    if (!within(py, top, bottom)) return [];
    const shown = fitText(label, left - PADDING - TICK - 2);
    return [
      markup`<line class="grid" x1="${px(left)}" x2="${px(right)}" y1="${px(py)}" y2="${px(py)}"/>`,
      markup`<text class="muted" x="${px(left - TICK)}" y="${px(py + 4)}" text-anchor="end">${shown}${shown !== label && markup`<title>${label}</title>`}</text>\n`,
    ];
  }),
  y.label &&
    markup`<text class="muted" x="${PADDING}" y="${PADDING + LINE - 4}">${fitText(y.label, right - PADDING)}</text>\n`,
  layers.map((layer) => [drawLayer(layer, frame), new Raw('\n')]),
  markup`<line class="axis" x1="${px(left)}" x2="${px(right)}" y1="${px(bottom)}" y2="${px(bottom)}"/>`,
  xTicks.flatMap(({ at, label }) => {
    const at_ = frame.x(at);
    if (!within(at_, left, right)) return [];
    return [
      markup`<line class="axis" x1="${px(at_)}" x2="${px(at_)}" y1="${px(bottom)}" y2="${px(bottom + 4)}"/>`,
      markup`<text class="muted" x="${px(at_)}" y="${px(bottom + LINE + 2)}" text-anchor="middle">${label}</text>\n`,
    ];
  }),
  options.x.label &&
    markup`<text class="muted" x="${px((left + right) / 2)}" y="${px(height - PADDING)}" text-anchor="middle">${fitText(options.x.label, right - left)}</text>\n`,
  legend.entries.map((entry) => drawLegendEntry(entry, legendTop + entry.row * (LINE + 2))),
  rules.labels.map(
    ({ label, strong, x, row, anchor }) =>
      markup`<text class="${strong ? 'strong' : 'muted'}" x="${px(x)}" y="${px(rulesTop + row * LINE + 12)}" text-anchor="${anchor}">${label}</text>\n`,
  ),
]}</svg>`;
}

/** The same as a file of its own: what `plot` gave, with its colours and a background. */
export function svgFile(svg: Markup): string {
  const [, head, rest] = /^(<svg [^>]*>)(.*)$/s.exec(svg.text)!;
  const style = new Raw(PLOT_STYLE.replaceAll(/\/\*.*?\*\/\n?/gs, ''));
  return markup`${new Raw(head)}<style>${style}</style><rect width="100%" height="100%" style="fill: var(--plot-surface)"/>${new Raw(rest)}\n`
    .text;
}

/** The area that values are drawn in, and where they are in it, in pixels. */
interface Frame {
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
  readonly x: (value: number) => number;
  readonly y: (value: number) => number;
}

function drawLayer(layer: Layer, frame: Frame): Piece {
  const { left, right, top, bottom } = frame;
  const at = (x: number): number => clamp(frame.x(x), left, right);
  const up = (y: number): number => clamp(frame.y(y), top, bottom);
  switch (layer.kind) {
    case 'span': {
      const [a, b] = [at(layer.from), at(layer.to)];
      return markup`<rect class="span" x="${px(Math.min(a, b))}" y="${px(top)}" width="${px(Math.abs(b - a))}" height="${px(bottom - top)}"/>`;
    }
    case 'bars':
      return markup`<g class="${seriesOf(layer)}">${layer.bars
        .filter(({ height }) => height > 0)
        .map(({ from, to, height }) => {
          const [a, b] = [Math.min(at(from), at(to)), Math.max(at(from), at(to))];
          // Seen, however small; and a gap between bars, where there is room for one.
          const tall = Math.max(1.5, bottom - up(height));
          const wide = Math.max(1, b - a - (b - a > 5 ? 1 : 0));
          return markup`<rect class="bar" x="${px(a)}" y="${px(bottom - tall)}" width="${px(wide)}" height="${px(tall)}"/>`;
        })}</g>`;
    case 'line':
      return markup`<path class="line ${seriesOf(layer)}${layer.dashed === true && ' dashed'}" d="${pathOf(layer.points.map(([x, y]) => [at(x), up(y)]))}"/>`;
    case 'band': {
      const points = layer.points.filter(({ low, high }) => !Number.isNaN(low) && !Number.isNaN(high));
      const edge = points.map(({ x, high }) => [at(x), up(high)] as const);
      const back = points.map(({ x, low }) => [at(x), up(low)] as const).reverse();
      return markup`<path class="band ${seriesOf(layer)}" d="${pathOf([...edge, ...back])}Z"/>`;
    }
    case 'points':
      return markup`<g class="${seriesOf(layer)}">${layer.points.map(({ x, y, low, high, title }) => {
        if (Number.isNaN(x) || Number.isNaN(y)) return null;
        const [cx, cy] = [at(x), up(y)];
        const beyond = turnOf(frame.x(x), frame.y(y), frame);
        return [
          low !== undefined &&
            high !== undefined &&
            markup`<line class="whisker" x1="${px(cx)}" x2="${px(cx)}" y1="${px(up(low))}" y2="${px(up(high))}"/>`,
          markup`<path class="point${layer.small === true && ' small'}" d="${beyond === null ? markerOf(layer, cx, cy) : arrowAt(cx, cy, beyond)}">${title !== undefined && markup`<title>${title}</title>`}</path>`,
        ];
      })}</g>`;
    case 'rule': {
      const kind = layer.strong ? 'rule strong' : 'rule';
      if ('y' in layer) {
        const y = frame.y(layer.y);
        if (!within(y, top, bottom)) return null;
        return [
          markup`<line class="${kind}" x1="${px(left)}" x2="${px(right)}" y1="${px(y)}" y2="${px(y)}"/>`,
          layer.label !== undefined &&
            markup`<text class="${layer.strong ? 'strong' : 'muted'}" x="${px(right)}" y="${px(y - 4)}" text-anchor="end">${layer.label}</text>`,
        ];
      }
      const x = frame.x(layer.x);
      if (Number.isNaN(x)) return null;
      if (within(x, left, right))
        return markup`<line class="${kind}" x1="${px(x)}" x2="${px(x)}" y1="${px(top)}" y2="${px(bottom)}"/>`;
      const [edge, turn] = x < left ? [left, 'left' as const] : [right, 'right' as const];
      const inner = x < left ? edge + 26 : edge - 26;
      return [
        markup`<line class="${kind}" x1="${px(edge)}" x2="${px(inner)}" y1="${px(top + 8)}" y2="${px(top + 8)}"/>`,
        markup`<path class="${kind} head" d="${arrowAt(edge, top + 8, turn)}"/>`,
      ];
    }
  }
}

const seriesOf = ({ series = 1 }: { readonly series?: Series }): string =>
  series === 0 ? 's0' : `s${((series - 1) % 6) + 1}`;

/** The path through points; NaN begins it anew. */
function pathOf(points: readonly (readonly [number, number])[]): string {
  let pen = false;
  let path = '';
  for (const [x, y] of points) {
    const drawn = !Number.isNaN(x) && !Number.isNaN(y);
    if (drawn) path += `${pen ? 'L' : 'M'}${px(x)} ${px(y)}`;
    pen = drawn;
  }
  return path;
}

/** Series differ in the shape of their markers too. */
function markerOf({ series = 1, small = false }: Pick<Points, 'series' | 'small'>, x: number, y: number): string {
  const r = small ? SMALL_MARKER : MARKER;
  switch (series === 0 ? 0 : (series - 1) % 4) {
    case 1:
      return `M${px(x - r)} ${px(y - r)}h${2 * r}v${2 * r}h${-2 * r}Z`;
    case 2:
      return `M${px(x)} ${px(y - 1.3 * r)}l${1.3 * r} ${1.3 * r}l${-1.3 * r} ${1.3 * r}l${-1.3 * r} ${-1.3 * r}Z`;
    case 3:
      return `M${px(x)} ${px(y - 1.2 * r)}l${1.2 * r} ${2.2 * r}h${-2.4 * r}Z`;
    default:
      return `M${px(x - r)} ${px(y)}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`;
  }
}

type Turn = 'left' | 'right' | 'up' | 'down';

/** Which end of the axes a place lies beyond. */
function turnOf(x: number, y: number, { left, right, top, bottom }: Frame): Turn | null {
  if (x < left - 0.5) return 'left';
  if (x > right + 0.5) return 'right';
  if (y < top - 0.5) return 'up';
  return y > bottom + 0.5 ? 'down' : null;
}

/** A head with its point at a place. */
function arrowAt(x: number, y: number, turn: Turn): string {
  const [dx, dy] = { left: [1, 0], right: [-1, 0], up: [0, 1], down: [0, -1] }[turn];
  const [back, side] = [10, 5];
  const [bx, by] = [x + dx * back, y + dy * back];
  return `M${px(x)} ${px(y)}L${px(bx + dy * side)} ${px(by + dx * side)}L${px(bx - dy * side)} ${px(by - dx * side)}Z`;
}

interface PlacedLegend {
  readonly rows: number;
  readonly entries: readonly {
    readonly layer: Layer;
    /** Of a span: how many are drawn under it. */
    readonly under: number;
    readonly name: string;
    readonly x: number;
    readonly row: number;
  }[];
}

/** Named layers one after another, in rows; a name stands once, however many layers have it. */
function placeLegend(layers: readonly Layer[], left: number, right: number): PlacedLegend {
  const entries: PlacedLegend['entries'][number][] = [];
  let [x, row] = [left, 0];
  for (const layer of layers) {
    const name = 'name' in layer ? layer.name : undefined;
    if (name === undefined || entries.some((entry) => entry.name === name)) continue;
    const width = LEGEND_KEY + 6 + textWidth(name) + 16;
    if (x > left && x + width > right + 16) [x, row] = [left, row + 1];
    const under = layer.kind === 'span' ? entries.filter((entry) => entry.layer.kind === 'span').length : 0;
    entries.push({ layer, under, name: fitText(name, right - left - LEGEND_KEY - 6), x, row });
    x += width;
  }
  return { rows: entries.length === 0 ? 0 : row + 1, entries };
}

function drawLegendEntry({ layer, under, name, x }: PlacedLegend['entries'][number], top: number): Piece {
  const y = top + 7;
  const [end, middle] = [x + LEGEND_KEY, x + LEGEND_KEY / 2];
  const box = `x="${px(x)}" y="${px(y - 5)}" width="${LEGEND_KEY}" height="10"`;
  const key = (): Piece => {
    switch (layer.kind) {
      case 'bars':
      case 'band':
        return markup`<rect class="${layer.kind === 'bars' ? 'bar' : 'band'} ${seriesOf(layer)}" ${new Raw(box)}/>`;
      case 'span':
        return Array.from({ length: under + 1 }, () => markup`<rect class="span" ${new Raw(box)}/>`);
      case 'line':
        return markup`<path class="line ${seriesOf(layer)}${layer.dashed === true && ' dashed'}" d="M${px(x)} ${px(y)}H${px(end)}"/>`;
      case 'points':
        return markup`<g class="${seriesOf(layer)}"><path class="point" d="${markerOf({ series: layer.series ?? 1 }, middle, y)}"/></g>`;
      case 'rule':
        return null;
    }
  };
  return [key(), markup`<text x="${px(end + 6)}" y="${px(y + 4)}">${name}</text>\n`];
}

interface PlacedLabels {
  readonly rows: number;
  readonly labels: readonly {
    readonly label: string;
    readonly strong: boolean;
    readonly x: number;
    readonly row: number;
    readonly anchor: 'start' | 'middle' | 'end';
  }[];
}

/** Labels of lines at a value of x, above the area, in as many rows as they need not to touch. */
function placeRuleLabels({ layers, x }: PlotOptions, left: number, right: number): PlacedLabels {
  const labels: PlacedLabels['labels'][number][] = [];
  const taken: { row: number; from: number; to: number }[] = [];
  let rows = 0;
  for (const layer of layers) {
    if (layer.kind !== 'rule' || !('x' in layer) || layer.label === undefined) continue;
    const place = clamp(left + positionOn(x, layer.x) * (right - left), left, right);
    if (Number.isNaN(place)) continue;
    const label = fitText(layer.label, right - left);
    const width = textWidth(label);
    const anchor = place - width / 2 < left ? 'start' : place + width / 2 > right ? 'end' : 'middle';
    // An anchor at one side may still run over the other.
    const from = clamp(
      anchor === 'start' ? place : anchor === 'end' ? place - width : place - width / 2,
      left,
      right - width,
    );
    const [start, to] = [from - 6, from + width + 6];
    let row = 0;
    while (taken.some((other) => other.row === row && other.from < to && start < other.to)) row++;
    taken.push({ row, from: start, to });
    rows = Math.max(rows, row + 1);
    labels.push({ label, strong: layer.strong === true, x: from, row, anchor: 'start' });
  }
  return { rows, labels };
}

/** About how wide a text is at 12 pixels. */
export function textWidth(text: string): number {
  let width = 0;
  for (const character of text) width += /[\u1100-\uffdc]|[\u{1f000}-\u{3ffff}]/u.test(character) ? 12 : 6.6;
  return width;
}

/** As much of a text as fits, with an ellipsis. */
function fitText(text: string, width: number): string {
  if (textWidth(text) <= width) return text;
  let shown = '';
  for (const character of text) {
    if (textWidth(`${shown}${character}…`) > width) break;
    shown += character;
  }
  return `${shown}…`;
}

const clamp = (value: number, low: number, high: number): number => Math.min(Math.max(value, low), high);

const within = (value: number, low: number, high: number): boolean => value >= low - 0.5 && value <= high + 0.5;

/** A length in pixels as it is written. */
const px = (value: number): string => String(Math.round(value * 10) / 10);
