// What the steps of Winograd's F(4×4, 3×3) share. Its points are 0, ±5/8, ±5/4 and infinity: of those tried they lose least, about
// twice the rounding of a direct sum, a sixth of that of the usual 0, ±1, ±2. A piece of winograd_*.wgsl.

alias Channels = vec4f;  // f32 or a vector: what one value holds
// A loop whose length the compiler knows is unrolled, and what it addresses stays in registers, as a GPU needs it; one whose length
// it does not know is much less to compile, which is what takes a CPU adapter's time.
const UNROLLED = false;

const A = 0.625;
const B = 1.25;
