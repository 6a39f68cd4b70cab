// out = softmax(scale q K^T) V with one query per sequence, the class token, which sees all of it: the last block,
// where no other token is needed.
//
//   q    [sequences, width]               T, in: width = heads * 64
//   kv   [sequences * tokens, 2 * width]  T, in: K and V side by side
//   out  [sequences, width]               T, out
//
// LAUNCH: grid (heads, sequences), block 128, shared 4 (tokens rounded up to 32 + 328) bytes: a score a token, the
// query, an output a warp, two numbers a warp. Pointers 16-byte aligned.
// NUMERICS: f32 throughout, operands widened; the maximum is subtracted. Not in place.
// REFERENCE: backend/cpu/attention.rs.
#include "reduce.cuh"
#include "vec.cuh"

namespace class_attention {

constexpr int SIZE = 64;
constexpr int WARPS = 4;
constexpr int THREADS = WARPS * reduce::WARP;
// Elements of a load, and the lanes that a head needs of them.
constexpr int EACH = 8;
constexpr int LANES = SIZE / EACH;

template <class T>
__device__ __forceinline__ void one_head(unsigned char* shared, const T* __restrict__ q, const T* __restrict__ kv,
                                         int tokens, int heads, float scale, T* __restrict__ out) {
    const int padded = (tokens + reduce::WARP - 1) / reduce::WARP * reduce::WARP;
    float* weights = reinterpret_cast<float*>(shared);
    float* query = weights + padded;
    float* partial = query + SIZE;
    float* maxima = partial + WARPS * SIZE;
    float* totals = maxima + WARPS;

    const int thread = static_cast<int>(threadIdx.x);
    const int warp = thread / reduce::WARP;
    const int lane = thread % reduce::WARP;
    const size_t width = static_cast<size_t>(heads) * SIZE;
    const size_t column = static_cast<size_t>(blockIdx.x) * SIZE;
    const T* keys = kv + static_cast<size_t>(blockIdx.y) * tokens * 2 * width + column;
    const T* values = keys + width;
    const size_t row = blockIdx.y * width + column;

    if (thread < SIZE) query[thread] = vec::scalar(q[row + thread]) * scale;
    __syncthreads();

    float largest = reduce::minus_infinity();
    for (int key = thread; key < tokens; key += THREADS) {
        const T* k = keys + key * 2 * width;
        float product = 0.0f;
#pragma unroll
        for (int d = 0; d < SIZE; d += EACH) {
            float part[EACH];
            vec::load8(k + d, part);
#pragma unroll
            for (int i = 0; i < EACH; i++) product = fmaf(query[d + i], part[i], product);
        }
        weights[key] = product;
        largest = fmaxf(largest, product);
    }
    largest = reduce::max(largest);
    if (lane == 0) maxima[warp] = largest;
    __syncthreads();
    largest = fmaxf(fmaxf(maxima[0], maxima[1]), fmaxf(maxima[2], maxima[3]));
    float total = 0.0f;
    for (int key = thread; key < tokens; key += THREADS) {
        weights[key] = expf(weights[key] - largest);
        total += weights[key];
    }
    total = reduce::sum(total);
    if (lane == 0) totals[warp] = total;
    __syncthreads();

    // Eight lanes hold a head's value; a warp takes four keys at a time, the block sixteen.
    constexpr int KEYS = reduce::WARP / LANES;
    const int part = lane % LANES * EACH;
    float sums[EACH] = {};
#pragma unroll 4
    for (int key = warp * KEYS + lane / LANES; key < tokens; key += WARPS * KEYS) {
        float v[EACH];
        vec::load8(values + key * 2 * width + part, v);
#pragma unroll
        for (int i = 0; i < EACH; i++) sums[i] = fmaf(weights[key], v[i], sums[i]);
    }
#pragma unroll
    for (int i = 0; i < EACH; i++) {
#pragma unroll
        for (int mask = LANES; mask < reduce::WARP; mask *= 2) sums[i] += cu::shfl_xor(sums[i], mask);
        if (lane < LANES) partial[warp * SIZE + part + i] = sums[i];
    }
    __syncthreads();
    if (thread >= SIZE) return;
    const float sum =
        partial[thread] + partial[SIZE + thread] + partial[2 * SIZE + thread] + partial[3 * SIZE + thread];
    vec::put(out + row + thread, sum / (totals[0] + totals[1] + totals[2] + totals[3]));
}

}  // namespace class_attention

extern "C" __global__ void __launch_bounds__(128)
    class_attention_f16(const half_t* __restrict__ q, const half_t* __restrict__ kv, int tokens, int heads, float scale,
                        half_t* __restrict__ out) {
    CU_SHARED(shared);
    class_attention::one_head(shared, q, kv, tokens, heads, scale, out);
}
CU_EXPORT(class_attention_f16);

extern "C" __global__ void __launch_bounds__(128)
    class_attention_f32(const float* __restrict__ q, const float* __restrict__ kv, int tokens, int heads, float scale,
                        float* __restrict__ out) {
    CU_SHARED(shared);
    class_attention::one_head(shared, q, kv, tokens, heads, scale, out);
}
CU_EXPORT(class_attention_f32);
