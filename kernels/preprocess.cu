// An 8-bit frame to patch rows in two passes: Pillow's antialiased resize, bit-exact (weights of any kernel, in units of
// 2^-22, integer sums, 8 bits after each pass), then crop or padding, normalisation and the unfolding of the patch
// convolution.
//
// resize_horizontal, the first pass, over the frame rows that the second reads:
//   frame         row row0 + r begins at frame + (row0 + r) * stride, pixels of `channels` bytes; any alignment, in
//   first, count  [columns]           u32, in: source columns of each output
//   weights       [columns, row_len]  i32, in
//   out           [rows, columns, channels]  u8, out
//   LAUNCH: grid ceil(rows * columns * channels / 256), block 256 (a thread a sample), no shared memory.
//
// patch_rows_{f16,f32}, the second pass and all that follows:
//   intermediate  [.., columns, channels]  u8, in: what resize_horizontal wrote, beginning with row source_row0 of the
//                 frame
//   first, count  [rows]           u32, in: source rows, of the frame, of each output row
//   weights       [rows, row_len]  i32, in
//   table         [3, 256]         f32, in: the normalised value of each byte
//   out           [grid_rows * grid_cols, 3 * patch * patch]  T, out; values in (channel, y, x) order
//   The picture, grid_rows * patch x grid_cols * patch, shows the resized frame at rows row0 .. row0 + rows and columns
//   col0 .. col0 + columns, and `padding` elsewhere; the frame may reach beyond it. One channel is repeated to three.
//   LAUNCH: grid ceil(grid_rows * grid_cols * patch^2 / 256), block 256 (a thread a pixel), no shared memory.
//
// NUMERICS: integers until the table; f16 rounds the table's value.
// REFERENCE: preprocess/resize.rs, preprocess/patches.rs.
#include "vec.cuh"

namespace preprocess {

constexpr int THREADS = 256;
constexpr int PRECISION = 22;
// Sums start at one half, so that dropping the fractional bits rounds to nearest.
constexpr int HALF = 1 << (PRECISION - 1);

__device__ __forceinline__ int clip(int sum) {
    const int value = sum >> PRECISION;
    return value < 0 ? 0 : value > 255 ? 255 : value;
}

template <int CHANNELS, class T>
__device__ __forceinline__ void pixel(const uint8_t* __restrict__ intermediate, int source_row0,
                                      const uint32_t* __restrict__ first, const uint32_t* __restrict__ count,
                                      const int32_t* __restrict__ weights, int row_len, int col0, int columns, int row0,
                                      int rows, int grid_rows, int grid_cols, int patch, int padding,
                                      const float* __restrict__ table, T* __restrict__ out) {
    const int width = grid_cols * patch;
    const int index = static_cast<int>(blockIdx.x * THREADS + threadIdx.x);
    if (index >= grid_rows * patch * width) return;
    const int y = index / width;
    const int x = index % width;
    int value[CHANNELS];
    if (y < row0 || y >= row0 + rows || x < col0 || x >= col0 + columns) {
#pragma unroll
        for (int c = 0; c < CHANNELS; c++) value[c] = padding;
    } else {
        const int row = y - row0;
        const size_t step = static_cast<size_t>(columns) * CHANNELS;
        const uint8_t* source = intermediate + (first[row] - source_row0) * step + (x - col0) * CHANNELS;
        const int32_t* weight = weights + static_cast<size_t>(row) * row_len;
        int sum[CHANNELS];
#pragma unroll
        for (int c = 0; c < CHANNELS; c++) sum[c] = HALF;
        const int taps = static_cast<int>(count[row]);
        for (int t = 0; t < taps; t++) {
#pragma unroll
            for (int c = 0; c < CHANNELS; c++) sum[c] += weight[t] * source[c];
            source += step;
        }
#pragma unroll
        for (int c = 0; c < CHANNELS; c++) value[c] = clip(sum[c]);
    }
    const size_t patch_row = static_cast<size_t>(y / patch) * grid_cols + x / patch;
    T* plane = out + patch_row * 3 * patch * patch + y % patch * patch + x % patch;
#pragma unroll
    for (int c = 0; c < 3; c++) vec::put(plane + c * patch * patch, table[c * 256 + value[c % CHANNELS]]);
}

template <class T>
__device__ __forceinline__ void picture(const uint8_t* __restrict__ intermediate, int source_row0, int channels,
                                        const uint32_t* __restrict__ first, const uint32_t* __restrict__ count,
                                        const int32_t* __restrict__ weights, int row_len, int col0, int columns,
                                        int row0, int rows, int grid_rows, int grid_cols, int patch, int padding,
                                        const float* __restrict__ table, T* __restrict__ out) {
    if (channels == 1) {
        pixel<1>(intermediate, source_row0, first, count, weights, row_len, col0, columns, row0, rows, grid_rows,
                 grid_cols, patch, padding, table, out);
    } else {
        pixel<3>(intermediate, source_row0, first, count, weights, row_len, col0, columns, row0, rows, grid_rows,
                 grid_cols, patch, padding, table, out);
    }
}

}  // namespace preprocess

extern "C" __global__ void __launch_bounds__(256)
    resize_horizontal(const uint8_t* __restrict__ frame, int stride, int channels, int row0, int rows,
                      const uint32_t* __restrict__ first, const uint32_t* __restrict__ count,
                      const int32_t* __restrict__ weights, int row_len, int columns, uint8_t* __restrict__ out) {
    const size_t index = static_cast<size_t>(blockIdx.x) * preprocess::THREADS + threadIdx.x;
    const int row_samples = columns * channels;
    if (index >= static_cast<size_t>(rows) * row_samples) return;
    const int row = static_cast<int>(index / row_samples);
    const int sample = static_cast<int>(index % row_samples);
    const int column = sample / channels;
    const uint8_t* source = frame + (static_cast<size_t>(row0) + row) * stride +
                            static_cast<size_t>(first[column]) * channels + sample % channels;
    const int32_t* weight = weights + static_cast<size_t>(column) * row_len;
    const int taps = static_cast<int>(count[column]);
    int sum = preprocess::HALF;
    for (int t = 0; t < taps; t++) sum += weight[t] * source[static_cast<size_t>(t) * channels];
    out[index] = static_cast<uint8_t>(preprocess::clip(sum));
}
CU_EXPORT(resize_horizontal);

extern "C" __global__ void __launch_bounds__(256)
    patch_rows_f16(const uint8_t* __restrict__ intermediate, int source_row0, int channels,
                   const uint32_t* __restrict__ first, const uint32_t* __restrict__ count,
                   const int32_t* __restrict__ weights, int row_len, int col0, int columns, int row0, int rows,
                   int grid_rows, int grid_cols, int patch, int padding, const float* __restrict__ table,
                   half_t* __restrict__ out) {
    preprocess::picture(intermediate, source_row0, channels, first, count, weights, row_len, col0, columns, row0, rows,
                        grid_rows, grid_cols, patch, padding, table, out);
}
CU_EXPORT(patch_rows_f16);

extern "C" __global__ void __launch_bounds__(256)
    patch_rows_f32(const uint8_t* __restrict__ intermediate, int source_row0, int channels,
                   const uint32_t* __restrict__ first, const uint32_t* __restrict__ count,
                   const int32_t* __restrict__ weights, int row_len, int col0, int columns, int row0, int rows,
                   int grid_rows, int grid_cols, int patch, int padding, const float* __restrict__ table,
                   float* __restrict__ out) {
    preprocess::picture(intermediate, source_row0, channels, first, count, weights, row_len, col0, columns, row0, rows,
                        grid_rows, grid_cols, patch, padding, table, out);
}
CU_EXPORT(patch_rows_f32);
