// Pictures as JPEG files store them, among pixels of images that lie one after another: pictures [N + 1, 8], each with its first pixel,
// where its stored first pixel lies, pixels from stored column to column and from row to row, stored width and height, columns and rows of
// pixels to a sample of colour (0: no JPEG), and its first block of 8×8 samples. The last row has the ends. Of columns and rows of a sample
// each has 4 bits; 256 and 512 more say that columns and rows run backwards.

@group(0) @binding(0) var<storage, read> pictures: array<u32>;

struct Picture { first: u32, origin: i32, column: i32, row: i32, size: vec2i, sampling: vec2i, firstBlock: u32 }

fn pictureAt(n: u32) -> Picture {
  let at = n * 8u;
  let sampling = pictures[at + 6u];
  return Picture(
    pictures[at],
    i32(pictures[at + 1u]),
    i32(pictures[at + 2u]) * select(1, -1, (sampling & 256u) != 0u),
    i32(pictures[at + 3u]) * select(1, -1, (sampling & 512u) != 0u),
    vec2i(i32(pictures[at + 4u]), i32(pictures[at + 5u])),
    vec2i(i32(sampling & 15u), i32((sampling >> 4u) & 15u)),
    pictures[at + 7u],
  );
}

// The last of `count` pictures whose field begins at or before a position.
fn pictureOf(position: u32, field: u32, count: u32) -> u32 {
  var low = 0u;
  var high = count;
  while (high - low > 1u) {
    let middle = (low + high) / 2u;
    if (pictures[middle * 8u + field] <= position) { low = middle; } else { high = middle; }
  }
  return low;
}

// Where the pixel of a stored column and row lies.
fn pixelAt(picture: Picture, stored: vec2i) -> u32 {
  return u32(picture.origin + stored.x * picture.column + stored.y * picture.row);
}

// Stored column and row of the pixel of a number, counted in stored order.
fn storedAt(picture: Picture, number: u32) -> vec2i {
  let index = i32(number - picture.first);
  return vec2i(index % picture.size.x, index / picture.size.x);
}

// Pixels to a sample, of brightness (0) or colour.
fn samplingOf(picture: Picture, component: u32) -> vec2i {
  return select(picture.sampling, vec2i(1), component == 0u);
}

// Samples of a component.
fn samplesOf(picture: Picture, component: u32) -> vec2i {
  let sampling = samplingOf(picture, component);
  return (picture.size + sampling - vec2i(1)) / sampling;
}

fn isNan(v: f32) -> bool {
  return (bitcast<u32>(v) & 0x7fffffffu) > 0x7f800000u;
}
