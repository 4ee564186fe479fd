import type { Orientation } from '../../images/image.ts';
import type { JpegCoding } from '../../images/jpeg_coding.ts';
import type { ErrorCase, KernelCase } from '../cases.ts';
import { jpegRoundTrip, jpegRoundTripBackward, packPictures } from './jpeg_round_trip.ts';

type Size = readonly [height: number, width: number];
/** Samples of a component; a row takes `stride` of them, of which those beyond `width` are what encoders add. */
type Plane = { readonly width: number; readonly height: number; readonly stride: number; readonly data: Float64Array };

/** Rounds to the nearest integer, ties to even. */
function roundHalfEven(v: number): number {
  const below = Math.floor(v);
  const rest = v - below;
  return rest < 0.5 || (rest === 0.5 && below % 2 === 0) ? below : below + 1;
}

const shift = (v: number, bits: number): number => Math.floor((v + 2 ** (bits - 1)) / 2 ** bits);
const fix = (v: number): number => Math.floor(v * 8192 + 0.5);

/** jfdctint.c, step by step, on rows and then columns. */
function fdct(block: Float64Array): void {
  for (const [stride, next, even, odd] of [
    [1, 8, -2, 11],
    [8, 1, 2, 15],
  ])
    for (let at = 0; at < 8 * next; at += next) {
      const x = Array.from({ length: 8 }, (_, i) => block[at + i * stride]);
      const [t0, t1, t2, t3] = [x[0] + x[7], x[1] + x[6], x[2] + x[5], x[3] + x[4]];
      const [t7, t6, t5, t4] = [x[0] - x[7], x[1] - x[6], x[2] - x[5], x[3] - x[4]];
      const [t10, t13, t11, t12] = [t0 + t3, t0 - t3, t1 + t2, t1 - t2];
      const put = (i: number, v: number): void => {
        block[at + i * stride] = v;
      };
      put(0, even < 0 ? 4 * (t10 + t11) : shift(t10 + t11, even));
      put(4, even < 0 ? 4 * (t10 - t11) : shift(t10 - t11, even));
      const z = (t12 + t13) * fix(0.5411961);
      put(2, shift(z + t13 * fix(0.765366865), odd));
      put(6, shift(z - t12 * fix(1.847759065), odd));
      const z5 = (t4 + t6 + t5 + t7) * fix(1.175875602);
      const [z1, z2] = [-(t4 + t7) * fix(0.899976223), -(t5 + t6) * fix(2.562915447)];
      const [z3, z4] = [z5 - (t4 + t6) * fix(1.96157056), z5 - (t5 + t7) * fix(0.390180644)];
      put(7, shift(t4 * fix(0.298631336) + z1 + z3, odd));
      put(5, shift(t5 * fix(2.053119869) + z2 + z4, odd));
      put(3, shift(t6 * fix(3.072711026) + z2 + z3, odd));
      put(1, shift(t7 * fix(1.50132111) + z1 + z4, odd));
    }
}

/** jidctint.c, step by step, on columns and then rows. */
function idct(block: Float64Array): void {
  for (const [stride, next, bits] of [
    [8, 1, 11],
    [1, 8, 18],
  ])
    for (let at = 0; at < 8 * next; at += next) {
      const x = Array.from({ length: 8 }, (_, i) => block[at + i * stride]);
      const z = (x[2] + x[6]) * fix(0.5411961);
      const [e2, e3] = [z - x[6] * fix(1.847759065), z + x[2] * fix(0.765366865)];
      const [e0, e1] = [(x[0] + x[4]) * 8192, (x[0] - x[4]) * 8192];
      const even = [e0 + e3, e1 + e2, e1 - e2, e0 - e3];
      const z5 = (x[7] + x[3] + x[5] + x[1]) * fix(1.175875602);
      const [z1, z2] = [-(x[7] + x[1]) * fix(0.899976223), -(x[5] + x[3]) * fix(2.562915447)];
      const [z3, z4] = [z5 - (x[7] + x[3]) * fix(1.96157056), z5 - (x[5] + x[1]) * fix(0.390180644)];
      const odd = [
        x[1] * fix(1.50132111) + z1 + z4,
        x[3] * fix(3.072711026) + z2 + z3,
        x[5] * fix(2.053119869) + z2 + z4,
        x[7] * fix(0.298631336) + z1 + z3,
      ];
      for (let i = 0; i < 4; i++) {
        block[at + i * stride] = shift(even[i] + odd[i], bits);
        block[at + (7 - i) * stride] = shift(even[i] - odd[i], bits);
      }
    }
}

/** A component of samples of a picture through quantisation. */
function quantised({ width, height, stride, data }: Plane, table: ArrayLike<number>): Plane {
  const out = new Float64Array(data.length);
  for (let top = 0; top < height; top += 8)
    for (let left = 0; left < width; left += 8) {
      const at = (i: number): number => Math.min(top + (i >> 3), height - 1) * stride + left + (i & 7);
      const block = Float64Array.from({ length: 64 }, (_, i) => data[at(i)] - 128);
      fdct(block);
      for (let i = 0; i < 64; i++)
        block[i] = Math.sign(block[i]) * Math.floor((Math.abs(block[i]) + 4 * table[i]) / (8 * table[i])) * table[i];
      idct(block);
      for (let i = 0; i < 64; i++)
        if (top + (i >> 3) < height && left + (i & 7) < width) out[at(i)] = Math.min(255, Math.max(0, block[i] + 128));
    }
  return { width, height, stride, data: out };
}

/** Means over the pixels of a sample. The last column of pixels stands for those beyond; of the last row the same comes out. */
function downsampled(
  { width, height, data }: Plane,
  [columns, rows]: readonly [number, number],
  exact: boolean,
): Plane {
  const [across, down] = [Math.ceil(width / columns), Math.ceil(height / rows)];
  const stride = 8 * Math.ceil(across / 8);
  const out = new Float64Array(stride * down);
  for (let y = 0; y < down; y++)
    for (let x = 0; x < stride; x++) {
      let sum = 0;
      for (let v = 0; v < rows; v++)
        for (let h = 0; h < columns; h++)
          sum += data[Math.min(y * rows + v, height - 1) * width + Math.min(x * columns + h, width - 1)];
      const bias = columns * rows === 4 ? 1 + (x % 2) : columns === 2 ? x % 2 : rows === 2 ? 1 : 0;
      out[y * stride + x] = exact ? Math.floor((sum + bias) / (columns * rows)) : sum / (columns * rows);
    }
  return { width: across, height: down, stride, data: out };
}

/** Triangle interpolation, as h2v1_, h1v2_ and h2v2_fancy_upsample do it. */
function upsampled(
  plane: Plane,
  [columns, rows]: readonly [number, number],
  width: number,
  height: number,
  exact: boolean,
): Plane {
  const plain = columns === 2 && plane.width <= 2;
  const out = new Float64Array(width * height);
  const near = (at: number, per: number, count: number): readonly [number, number, number] => {
    const own = Math.floor(at / per);
    if (per === 1 || plain) return [own, own, 4];
    return [own, Math.min(count - 1, Math.max(0, own + (at % 2 === 1 ? 1 : -1))), 3];
  };
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const [x0, x1, wx] = near(x, columns, plane.width);
      const [y0, y1, wy] = near(y, rows, plane.height);
      const line = (row: number): number =>
        wx * plane.data[row * plane.stride + x0] + (4 - wx) * plane.data[row * plane.stride + x1];
      const sum = wy * line(y0) + (4 - wy) * line(y1);
      const bias =
        columns * rows === 4 ? 8 - (x % 2) : columns === 2 ? 4 + 4 * (x % 2) : rows === 2 ? 4 + 4 * (y % 2) : 0;
      out[y * width + x] = exact ? Math.floor((sum + bias) / 16) : sum / 16;
    }
  return { width, height, stride: width, data: out };
}

const toYcc = (r: number, g: number, b: number, exact: boolean): readonly number[] =>
  exact
    ? [
        Math.floor((19595 * r + 38470 * g + 7471 * b + 32768) / 65536),
        Math.floor((-11059 * r - 21709 * g + 32768 * b + 128 * 65536 + 32767) / 65536),
        Math.floor((32768 * r - 27439 * g - 5329 * b + 128 * 65536 + 32767) / 65536),
      ]
    : [
        0.299 * r + 0.587 * g + 0.114 * b,
        -0.168735892 * r - 0.331264108 * g + 0.5 * b,
        0.5 * r - 0.418687589 * g - 0.081312411 * b,
      ];

function toRgb([y, blue, red]: readonly number[], exact: boolean): readonly number[] {
  if (!exact) return [y + 1.402 * red, y - 0.344136286 * blue - 0.714136286 * red, y + 1.772 * blue];
  const [cb, cr] = [blue - 128, red - 128];
  return [
    y + Math.floor((91881 * cr + 32768) / 65536),
    y + Math.floor((-22554 * cb - 46802 * cr + 32768) / 65536),
    y + Math.floor((116130 * cb + 32768) / 65536),
  ].map((v) => Math.min(255, Math.max(0, v)));
}

/** A pixel's place in the upright image, of those in stored order, by the picture's orientation (EXIF 2.32, tag 0x0112). */
function uprightPlace(orientation: Orientation, x: number, y: number, width: number, height: number): number {
  const [right, below] = [width - 1 - x, height - 1 - y];
  const places: Record<Orientation, readonly [number, number, number]> = {
    1: [y, x, width],
    2: [y, right, width],
    3: [below, right, width],
    4: [below, x, width],
    5: [x, y, height],
    6: [x, below, height],
    7: [right, below, height],
    8: [right, y, height],
  };
  const [row, column, across] = places[orientation];
  return row * across + column;
}

/** All of it, image by image; `exact` false: without any rounding and limits, where coefficients pass as they are. */
function reference(
  images: readonly Size[],
  codings: readonly (JpegCoding | undefined)[],
  C: number,
  exact: boolean,
  x: Float64Array,
): Float64Array {
  const limited = (v: number): number => Math.min(Math.max(v, 0), 255);
  const y = exact ? x.map(limited) : x.slice();
  let first = 0;
  images.forEach(([down, across], n) => {
    const coding = codings[n];
    if (coding) {
      const { orientation, sampling } = coding;
      const [width, height] = orientation >= 5 ? [down, across] : [across, down];
      const place = Array.from({ length: width * height }, (_, i) =>
        uprightPlace(orientation, i % width, Math.floor(i / width), width, height),
      );
      const level = (i: number, c: number): number => {
        const v = x[(first + place[i]) * C + c];
        return exact ? roundHalfEven(limited(v)) : v;
      };
      const pixels = place.map((_, i) =>
        C === 1 ? [level(i, 0)] : toYcc(level(i, 0), level(i, 1), level(i, 2), exact),
      );
      const planes = Array.from({ length: C }, (_, c): Plane => {
        const full = { width, height, stride: width, data: Float64Array.from(pixels, (pixel) => pixel[c]) };
        const per = c === 0 ? ([1, 1] as const) : sampling;
        const samples = downsampled(full, per, exact);
        const kept = exact ? quantised(samples, c === 0 ? coding.luminance : coding.chrominance) : samples;
        return upsampled(kept, per, width, height, exact);
      });
      place.forEach((to, i) => {
        const components = planes.map(({ data }) => data[i]);
        const levels = C === 1 ? components : toRgb(components, exact);
        for (const [c, v] of levels.entries()) y[(first + to) * C + c] = v;
      });
    }
    first += down * across;
  });
  return y;
}

/** Rising steps, as such tables have them. */
const table = (first: number, rise: number): readonly number[] =>
  Array.from({ length: 64 }, (_, i) => Math.round(first + rise * ((i >> 3) + (i & 7))));
const coding = (sampling: readonly [number, number], orientation: Orientation = 1, coarse = 1): JpegCoding => ({
  luminance: table(3 * coarse, 2 * coarse),
  chrominance: table(4 * coarse, 5 * coarse),
  sampling,
  orientation,
});

interface Pictures {
  readonly name: string;
  readonly images: readonly Size[];
  readonly codings: readonly (JpegCoding | undefined)[];
  readonly channels: number;
  /** Of x, where there are more than the images need. */
  readonly pixels?: number;
}

const inputsOf = ({ images, codings, channels, pixels }: Pictures) => {
  const packed = packPictures(
    images.map(([height, width]) => ({ height, width })),
    codings,
    channels,
    images.length + 1,
  );
  const values = (array: Uint32Array, width: number) => ({
    shape: [array.length / width, width],
    dtype: 'u32' as const,
    value: (_: number, i: number) => array[i],
  });
  return {
    shape: [pixels ?? images.reduce((sum, [H, W]) => sum + H * W, 0), channels],
    pictures: values(packed.pictures, 8),
    tables: values(packed.tables, 128),
  };
};

/** Smooth, with edges and noise, some levels beyond 0–255 and many on halves. */
const level = (t: number, i: number): number => Math.round(2 * (130 + 150 * Math.sin(i / 17) + 40 * t)) / 2 - 20;

function forwardCase(set: Pictures): KernelCase {
  const { shape, pictures, tables } = inputsOf(set);
  return {
    name: `jpeg_round_trip ${set.name}`,
    inputs: { x: { shape, value: level }, pictures, tables },
    record: (_, { x, pictures, tables }) => ({ y: jpegRoundTrip(x, pictures, tables) }),
    reference: ({ x }) => ({ y: reference(set.images, set.codings, set.channels, true, x) }),
    // Whole levels, all of them.
    tolerance: 1e-9,
  };
}

/** The gradient kernels by themselves: differences of what is rounded say nothing, so they are taken of what is not. */
function gradientCase(set: Pictures): KernelCase {
  const { shape, pictures } = inputsOf(set);
  return {
    name: `jpeg_round_trip_dx ${set.name}`,
    inputs: { dy: { shape }, pictures },
    record: (_, { dy, pictures }) => ({ dx: jpegRoundTripBackward(dy, pictures) }),
    reference: ({ dy }) => {
      const dx = dy.slice();
      let first = 0;
      set.images.forEach(([H, W], n) => {
        const count = H * W * set.channels;
        const own = dy.subarray(first, first + count);
        const moved = (i: number, delta: number): Float64Array => {
          const x = Float64Array.from(own, (_, j) => level(0.5, j) + (j === i ? delta : 0));
          return reference([[H, W]], [set.codings[n]], set.channels, false, x);
        };
        const h = 0.5;
        for (let i = 0; i < count; i++) {
          const [above, below] = [moved(i, h), moved(i, -h)];
          // What does not change has no part in it, also where dy is NaN.
          dx[first + i] = own.reduce(
            (sum, v, j) => (above[j] === below[j] ? sum : sum + (v * (above[j] - below[j])) / (2 * h)),
            0,
          );
        }
        first += count;
      });
      return { dx };
    },
  };
}

const turned = ([2, 3, 4, 5, 6, 7, 8] as const).map((orientation) => coding([2, 2], orientation));
const sets: readonly Pictures[] = [
  { name: 'one pixel', images: [[1, 1]], codings: [coding([2, 2])], channels: 3 },
  { name: '4:4:4', images: [[13, 9]], codings: [coding([1, 1])], channels: 3 },
  { name: '4:2:0 of odd sides', images: [[11, 13]], codings: [coding([2, 2])], channels: 3 },
  { name: '4:2:2', images: [[9, 11]], codings: [coding([2, 1])], channels: 3 },
  { name: '4:4:0', images: [[12, 7]], codings: [coding([1, 2])], channels: 3 },
  { name: 'colours of two columns', images: [[6, 3]], codings: [coding([2, 2])], channels: 3 },
  { name: 'grey', images: [[10, 17]], codings: [coding([1, 1])], channels: 1 },
  {
    name: 'all orientations',
    images: turned.map((_, i) => [5 + (i % 3), 9]),
    codings: turned,
    channels: 3,
  },
  {
    name: 'of several sizes, some lossless, pixels left over',
    images: [
      [3, 5],
      [8, 6],
      [4, 4],
      [1, 9],
    ],
    codings: [undefined, coding([2, 2]), undefined, coding([1, 1], 6)],
    channels: 3,
    pixels: 90,
  },
];

export const cases: readonly KernelCase[] = [
  ...sets.map(forwardCase),
  // Many blocks, and steps so coarse that little is left.
  forwardCase({
    name: '4:2:0 coarse',
    images: [
      [50, 70],
      [33, 21],
    ],
    codings: [coding([2, 2], 1, 8), coding([2, 2], 8, 2)],
    channels: 3,
  }),
  // More blocks than there are workgroups.
  forwardCase({ name: 'a line', images: [[1, 300]], codings: [coding([1, 1])], channels: 3 }),
  ...sets.map(gradientCase),
];

export const errors: readonly ErrorCase[] = [
  {
    name: 'inks',
    record: (tape) =>
      jpegRoundTrip(
        tape.input('x', [64, 4]),
        tape.input('pictures', [2, 8], 'u32'),
        tape.input('tables', [1, 128], 'u32'),
      ),
    message: 'jpeg_round_trip: x must be pixels [..., 1 or 3]; x [64,4], pictures [2,8], tables [1,128]',
  },
  {
    name: 'a picture without tables',
    record: (tape) =>
      jpegRoundTrip(
        tape.input('x', [64, 3]),
        tape.input('pictures', [3, 8], 'u32'),
        tape.input('tables', [1, 128], 'u32'),
      ),
    message: 'jpeg_round_trip: pictures must be [N + 1,8] of u32; x [64,3], pictures [3,8], tables [1,128]',
  },
  {
    name: 'one table',
    record: (tape) =>
      jpegRoundTrip(
        tape.input('x', [64, 3]),
        tape.input('pictures', [2, 8], 'u32'),
        tape.input('tables', [1, 64], 'u32'),
      ),
    message: 'jpeg_round_trip: tables must be [N,128] of u32; x [64,3], pictures [2,8], tables [1,64]',
  },
  {
    name: 'a step of nothing',
    record: () => packPictures([{ height: 8, width: 8 }], [{ ...coding([1, 1]), luminance: new Array(64).fill(0) }], 3),
    message: 'a quantisation table has 64 numbers from 1 to 65535',
  },
  {
    name: 'a sampling that is not read',
    record: () => packPictures([{ height: 8, width: 8 }], [coding([4, 1])], 3),
    message: '4x1 pixels to a sample of colour: 1 or 2 are',
  },
];
