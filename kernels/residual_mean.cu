// The residual map: map = valid * mean over taps of scale (1 - cosine).
//
//   keys    [layers, cells]  u64, in: what `patch_nn` leaves, the largest cosine in the upper half (ordered.cuh)
//   valid   [cells]          f32, in: 1, or 0 where a cell is ignored
//   map     [cells]          f32, out
//   mirror  [cells]          f32, out, may be null: the same in the host's memory
//
// LAUNCH: grid ceil(cells / 256), block 256, no shared memory.
// NUMERICS: f32, summed in the order of the taps; NaN stays NaN, in ignored cells as well.
// REFERENCE: backend/cpu/residual_mean.rs.
#include "ordered.cuh"

extern "C" __global__ void __launch_bounds__(256)
    residual_mean(const unsigned long long* __restrict__ keys, const float* __restrict__ valid, int layers, int cells,
                  float scale, float* __restrict__ map, float* __restrict__ mirror) {
    const int cell = static_cast<int>(blockIdx.x * 256 + threadIdx.x);
    if (cell >= cells) return;
    float sum = 0.0f;
    for (int layer = 0; layer < layers; layer++) {
        const unsigned long long key = keys[static_cast<size_t>(layer) * cells + cell];
        sum += scale * (1.0f - ordered::to_float(static_cast<uint32_t>(key >> 32)));
    }
    const float residual = valid[cell] * (sum / static_cast<float>(layers));
    map[cell] = residual;
    if (mirror != nullptr) mirror[cell] = residual;
}
CU_EXPORT(residual_mean);
