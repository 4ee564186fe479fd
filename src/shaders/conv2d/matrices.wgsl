// Matrix units of a GPU: 16×16 matrices of float16, their products in float32. A workgroup has four subgroups of 32.
// A piece of conv2d_matrix.wgsl and conv2d_dweight_matrix.wgsl.

enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
// The analysis does not see that all lanes of a subgroup have the same number of their subgroup.
diagnostic(off, chromium.subgroup_matrix_uniformity);

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sums = subgroup_matrix_result<f32, 16, 16>;

const INVOCATIONS = 128u;
const TILE_QUADS = 16u;  // of output channels
const PAD = 2u;  // rows in workgroup memory are longer by so many quads: what is loaded at once lies on different banks

var<workgroup> results: array<vec4f, 4u * 64u>;  // [subgroup][row][quad of output channels]
