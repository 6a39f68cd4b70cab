// The tokens of square windows of patches, at every place of every image: for each window the prefix tokens of its image, then
// its patches, row by row. Windows count row by row in an image, images in turn; numbers beyond the last stand for the last.
//
//   x    [images * (prefix + rows * cols), width]  f32, in
//   out  [count * (prefix + side * side), width]   f32, out: windows `first` and following
//
// LAUNCH: grid count * (prefix + side * side), block 128, no shared memory. side at most rows and cols; width a multiple of 4;
// pointers 16-byte aligned.
// NUMERICS: a copy. Not in place.
// REFERENCE: backend/cpu/window_tokens.rs.
#include "vec.cuh"

extern "C" __global__ void __launch_bounds__(128)
    window_tokens(const float* __restrict__ x, int images, int prefix, int rows, int cols, int side, int first, int width,
                  float* __restrict__ out) {
    const int tokens = prefix + side * side;
    const int across = cols - side + 1;
    const int each = (rows - side + 1) * across;
    const int token = static_cast<int>(blockIdx.x) % tokens;
    int window = first + static_cast<int>(blockIdx.x) / tokens;
    if (window >= images * each) window = images * each - 1;
    const int place = window % each;
    int row = token;
    if (token >= prefix) {
        const int patch = token - prefix;
        row = prefix + (place / across + patch / side) * cols + place % across + patch % side;
    }
    const size_t from = static_cast<size_t>(window / each) * (prefix + rows * cols) + row;
    const vec::Quad* source = reinterpret_cast<const vec::Quad*>(x + from * width);
    vec::Quad* target = reinterpret_cast<vec::Quad*>(out + static_cast<size_t>(blockIdx.x) * width);
#pragma unroll 1
    for (int i = threadIdx.x; i < width / 4; i += 128) target[i] = source[i];
}
CU_EXPORT(window_tokens);
