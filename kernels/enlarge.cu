// A map of cells at the size of the image: bilinear (middles of pixels, edges clamped), then blurred along both axes, beyond the
// border c b a | a b c, or d c b | a b c where `mirrored`. Down the columns first, then along the rows.
//
//   map         [rows, cols]                 f32, in
//   valid       [rows, cols]                 f32, in: 1, or 0 where a cell is ignored
//   blur        [2 radius + 1]               f32, in: weights
//   columns     [rows patch, cols]           f32, out of the first kernel, in of the second
//   out         [rows patch, cols patch]     f32, out
//   out_valid   [rows patch, cols patch]     f32, out: that of the pixel's cell
//
// LAUNCH: grid ceil(elements of the output / 256), block 256, no shared memory.
// NUMERICS: f32, in the order of the weights.
// REFERENCE: backend/cpu/enlarge.rs.
#include "cu.cuh"

namespace enlarge {

__device__ __forceinline__ int reflected(int at, int pixels, int mirrored) {
    const int period = mirrored != 0 ? (pixels > 1 ? 2 * pixels - 2 : 1) : 2 * pixels;
    at = at % period;
    if (at < 0) at += period;
    return at < pixels ? at : 2 * pixels - (mirrored != 0 ? 2 : 1) - at;
}

// The sum of weights times what lies at each pixel of a line of `cells` cells, `step` apart.
__device__ __forceinline__ float blurred(const float* __restrict__ line, int cells, int step, int patch, int pixel,
                                         const float* __restrict__ blur, int radius, int mirrored) {
    const int pixels = cells * patch;
    float sum = 0.0f;
    for (int offset = -radius; offset <= radius; offset++) {
        const int from = reflected(pixel + offset, pixels, mirrored);
        const float place = fmaxf((static_cast<float>(from) + 0.5f) / static_cast<float>(patch) - 0.5f, 0.0f);
        const int low = static_cast<int>(place);
        const int high = low + 1 < cells ? low + 1 : cells - 1;
        const float share = place - static_cast<float>(low);
        const float value = line[static_cast<size_t>(low) * step] * (1.0f - share) +
                            line[static_cast<size_t>(high) * step] * share;
        sum = fmaf(blur[offset + radius], value, sum);
    }
    return sum;
}

}  // namespace enlarge

extern "C" __global__ void __launch_bounds__(256)
    enlarge_columns(const float* __restrict__ map, int rows, int cols, int patch, const float* __restrict__ blur,
                    int radius, int mirrored, float* __restrict__ columns) {
    const int at = static_cast<int>(blockIdx.x * 256 + threadIdx.x);
    if (at >= rows * patch * cols) return;
    columns[at] = enlarge::blurred(map + at % cols, rows, cols, patch, at / cols, blur, radius, mirrored);
}
CU_EXPORT(enlarge_columns);

extern "C" __global__ void __launch_bounds__(256)
    enlarge_rows(const float* __restrict__ columns, const float* __restrict__ valid, int rows, int cols, int patch,
                 const float* __restrict__ blur, int radius, int mirrored, float* __restrict__ out,
                 float* __restrict__ out_valid) {
    const int at = static_cast<int>(blockIdx.x * 256 + threadIdx.x);
    const int width = cols * patch;
    if (at >= rows * patch * width) return;
    const int y = at / width;
    const int x = at % width;
    const float* line = columns + static_cast<size_t>(y) * cols;
    out[at] = enlarge::blurred(line, cols, 1, patch, x, blur, radius, mirrored);
    out_valid[at] = valid[y / patch * cols + x / patch];
}
CU_EXPORT(enlarge_rows);
