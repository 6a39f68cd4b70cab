// Each row averaged to bins, times its number in `valid`: bin i is the mean of floor(i width / count) .. ceil((i + 1) width /
// count).
//
//   x       [rows, width]  f32, in
//   valid   [rows]         f32, in, may be null: every row counts
//   out     [rows, count]  f32, out; `len` elements
//   mirror  [rows, count]  f32, out, may be null: the same in the host's memory
//
// LAUNCH: grid ceil(len / 256), block 256, no shared memory. width count below 2^31.
// NUMERICS: f32, in the order of the numbers; NaN stays NaN, in rows that do not count as well.
// REFERENCE: backend/cpu/pool_columns.rs.
#include "bins.cuh"

extern "C" __global__ void __launch_bounds__(256)
    pool_columns(const float* __restrict__ x, int width, int count, int len, const float* __restrict__ valid,
                 float* __restrict__ out, float* __restrict__ mirror) {
    const int i = static_cast<int>(blockIdx.x * 256 + threadIdx.x);
    if (i >= len) return;
    const bins::Range bin = bins::of(i % count, count, width);
    const float* row = x + static_cast<size_t>(i / count) * width;
    float sum = 0.0f;
    for (int number = bin.first; number < bin.end; number++) sum += row[number];
    const float mean = sum / static_cast<float>(bin.end - bin.first);
    const float counted = valid == nullptr ? mean : valid[i / count] * mean;
    out[i] = counted;
    if (mirror != nullptr) mirror[i] = counted;
}
CU_EXPORT(pool_columns);
