// The distance of each query row to the bank row that `patch_nn` found for it, by differences:
// map = valid * mean over layers of scale ||query - row||.
//
//   queries  [layers, query_pitch, width]  T, in: the first `count` rows of each layer
//   bank     one BankTensor in device memory, in: [layers, bank->rows, width], T
//   keys     [layers, key_pitch]           u64, in and out: what `patch_nn` leaves, the row in the lower half (ordered.cuh)
//   valid   [count]                       f32, in: 1, or 0 where a cell is ignored; may be null: every cell counts
//   map      [count]                       f32, out
//   mirror   [count]                       f32, out, may be null: the same in the host's memory
//
// LAUNCH: grid ceil(count / 8), block 256 (a warp a query), no shared memory. width a multiple of 8; pointers of rows 16-byte
// aligned.
// NUMERICS: f32; a lane's eight elements of every 256 in order, then lanes as a butterfly, then layers in order. Where the row
// found is so near that the rounding of a cosine, or of a stored row's length, could put it before the nearest, all rows are
// compared by differences: an image that is in its bank has the distance 0. Of equals the first row counts.
// REFERENCE: backend/cpu/nearest_distance.rs.
#include "abi.cuh"
#include "ordered.cuh"
#include "reduce.cuh"
#include "vec.cuh"

namespace nearest_distance {

constexpr int WARPS = 8;
constexpr int EACH = 8;

// Squared distances below this are looked for among all rows. At its root the rounding of a cosine of f32 rows, 4e-7, is one of
// 6e-6 in the distance. The squared length of a row of halves is off by about 1e-4.
template <class T>
constexpr float NEAR = 1e-3f;
template <>
constexpr float NEAR<half_t> = 4e-3f;

// ||a - b||², for every lane of the warp.
template <class T>
__device__ __forceinline__ float squares(const T* __restrict__ a, const T* __restrict__ b, int width, int lane) {
    float sum = 0.0f;
    for (int column = lane * EACH; column < width; column += reduce::WARP * EACH) {
        float x[EACH], y[EACH];
        vec::load8(a + column, x);
        vec::load8(b + column, y);
#pragma unroll
        for (int k = 0; k < EACH; k++) {
            const float d = x[k] - y[k];
            sum = fmaf(d, d, sum);
        }
    }
    return reduce::sum(sum);
}

template <class T>
__device__ __forceinline__ void one_query(const T* __restrict__ queries, int query_pitch, int count,
                                          const BankTensor* __restrict__ bank, int layers, int width,
                                          unsigned long long* __restrict__ keys, int key_pitch, float scale,
                                          const float* __restrict__ valid, float* __restrict__ map,
                                          float* __restrict__ mirror) {
    const int thread = static_cast<int>(threadIdx.x);
    const int query = static_cast<int>(blockIdx.x) * WARPS + thread / reduce::WARP;
    if (query >= count) return;
    const int lane = thread % reduce::WARP;
    float sum = 0.0f;
    for (int layer = 0; layer < layers; layer++) {
        unsigned long long* at = keys + static_cast<size_t>(layer) * key_pitch + query;
        const unsigned long long key = *at;
        const T* a = queries + (static_cast<size_t>(layer) * query_pitch + query) * width;
        const T* rows = static_cast<const T*>(bank->data) + static_cast<size_t>(layer) * bank->rows * width;
        const size_t found = 0xffffffffu - static_cast<uint32_t>(key);
        float least = squares(a, rows + found * width, width, lane);
        if (least < NEAR<T>) {
            uint32_t nearest = static_cast<uint32_t>(found);
            for (uint32_t row = 0; row < static_cast<uint32_t>(bank->rows); row++) {
                const float other = squares(a, rows + static_cast<size_t>(row) * width, width, lane);
                if (other < least || (other == least && row < nearest)) {
                    least = other;
                    nearest = row;
                }
            }
            if (lane == 0) *at = ordered::key(static_cast<uint32_t>(key >> 32), nearest);
        }
        sum += scale * sqrtf(least);
    }
    if (lane != 0) return;
    const float distance = (valid == nullptr ? 1.0f : valid[query]) * (sum / static_cast<float>(layers));
    map[query] = distance;
    if (mirror != nullptr) mirror[query] = distance;
}

}  // namespace nearest_distance

extern "C" __global__ void __launch_bounds__(256)
    nearest_distance_f16(const half_t* __restrict__ queries, int query_pitch, int count,
                         const BankTensor* __restrict__ bank, int layers, int width,
                         unsigned long long* __restrict__ keys, int key_pitch, float scale,
                         const float* __restrict__ valid, float* __restrict__ map, float* __restrict__ mirror) {
    nearest_distance::one_query(queries, query_pitch, count, bank, layers, width, keys, key_pitch, scale, valid, map,
                                mirror);
}
CU_EXPORT(nearest_distance_f16);

extern "C" __global__ void __launch_bounds__(256)
    nearest_distance_f32(const float* __restrict__ queries, int query_pitch, int count,
                         const BankTensor* __restrict__ bank, int layers, int width,
                         unsigned long long* __restrict__ keys, int key_pitch, float scale,
                         const float* __restrict__ valid, float* __restrict__ map, float* __restrict__ mirror) {
    nearest_distance::one_query(queries, query_pitch, count, bank, layers, width, keys, key_pitch, scale, valid, map,
                                mirror);
}
CU_EXPORT(nearest_distance_f32);
