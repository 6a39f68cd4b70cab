// The mean over the cells of each image, channel by channel.
//
//   x    [images, cells, width]  f32, in
//   out  [images, width]         f32, out; `len` elements
//
// LAUNCH: grid ceil(len / 256), block 256, no shared memory.
// NUMERICS: f32, cells in order.
// REFERENCE: backend/cpu/mean_cells.rs.
#include "cu.cuh"

extern "C" __global__ void __launch_bounds__(256)
    mean_cells(const float* __restrict__ x, int cells, int width, int len, float* __restrict__ out) {
    const int i = static_cast<int>(blockIdx.x * 256 + threadIdx.x);
    if (i >= len) return;
    const float* own = x + static_cast<size_t>(i / width) * cells * width + i % width;
    float sum = 0.0f;
    for (int cell = 0; cell < cells; cell++) sum += own[static_cast<size_t>(cell) * width];
    out[i] = sum / static_cast<float>(cells);
}
CU_EXPORT(mean_cells);
