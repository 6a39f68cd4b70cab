// The 3 x 3 neighbourhood of each cell as 9 width numbers, the channel as the slow index and 0 outside, averaged to bins:
// bin i is the mean of floor(i n / bins) .. ceil((i + 1) n / bins), n = 9 width.
//
//   x    [images, rows, cols, width]  f32, in
//   out  [images, rows, cols, count]  f32, out; `len` elements
//
// LAUNCH: grid ceil(len / 256), block 256, no shared memory. 9 width count below 2^31.
// NUMERICS: f32, in the order of the numbers.
// REFERENCE: backend/cpu/pool_neighbours.rs.
#include "bins.cuh"

extern "C" __global__ void __launch_bounds__(256)
    pool_neighbours(const float* __restrict__ x, int rows, int cols, int width, int count, int len,
                    float* __restrict__ out) {
    const int i = static_cast<int>(blockIdx.x * 256 + threadIdx.x);
    if (i >= len) return;
    const int cell = i / count;
    const int col = cell % cols;
    const int row = cell / cols % rows;
    const bins::Range bin = bins::of(i % count, count, 9 * width);
    float sum = 0.0f;
    for (int number = bin.first; number < bin.end; number++) {
        const int place = number % 9;
        const int down = place / 3 - 1;
        const int across = place % 3 - 1;
        const bool inside = row + down >= 0 && row + down < rows && col + across >= 0 && col + across < cols;
        if (inside) sum += x[static_cast<size_t>(cell + down * cols + across) * width + number / 9];
    }
    out[i] = sum / static_cast<float>(bin.end - bin.first);
}
CU_EXPORT(pool_neighbours);
