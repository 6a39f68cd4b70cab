// The largest of the 3 x 3 cells around every second cell, channel by channel; cells outside do not count.
//
//   x    [images, rows, cols, width]  f32, in
//   out  [images, ceil(rows / 2), ceil(cols / 2), width]  f32, out
//
// LAUNCH: grid ceil(len / 256), block 256, no shared memory; `len` is the elements of out.
// NUMERICS: exact; NaN is the largest.
// REFERENCE: backend/cpu/max_pool.rs.
#include "reduce.cuh"

extern "C" __global__ void __launch_bounds__(256)
    max_pool(const float* __restrict__ x, int rows, int cols, int width, int len, float* __restrict__ out) {
    const int i = static_cast<int>(blockIdx.x * 256 + threadIdx.x);
    if (i >= len) return;
    const int out_rows = (rows + 1) / 2;
    const int out_cols = (cols + 1) / 2;
    const int channel = i % width;
    const int col = i / width % out_cols * 2;
    const int row = i / width / out_cols % out_rows * 2;
    const size_t image = static_cast<size_t>(i / width / out_cols / out_rows) * rows;
    float largest = reduce::minus_infinity();
#pragma unroll
    for (int down = -1; down < 2; down++) {
#pragma unroll
        for (int across = -1; across < 2; across++) {
            const int r = row + down;
            const int c = col + across;
            const bool inside = r >= 0 && r < rows && c >= 0 && c < cols;
            if (inside) largest = reduce::larger(largest, x[((image + r) * cols + c) * width + channel]);
        }
    }
    out[i] = largest;
}
CU_EXPORT(max_pool);
