// out = softmax(scale Q K^T) V for each head of each sequence, every token seeing every token of its sequence.
//
//   qkv  [sequences * tokens, 3 * heads * 64]  T, in: Q, K and V side by side, heads of 64
//   out  [sequences * tokens, heads * 64]      T, out
//
// LAUNCH, pointers 16-byte aligned:
//   attention_f16_KEYS    grid (ceil(tokens / 64), heads, sequences), block 128, shared (2 KEYS + 64) * 144 bytes;
//                         tokens <= KEYS. The whole row of scores stays in registers: softmax in one pass, exact.
//   attention_online_f16  the same grid and block, shared 46080 bytes; any number of tokens: tiles of 64 keys, the
//                         running maximum rescales what was summed.
//   attention_f32         grid (ceil(tokens / 8), heads, sequences), block 256 (a warp a query), shared
//                         32 (64 + tokens rounded up to 32) bytes; for diagnosis, without tensor cores.
// NUMERICS: f16 operands, f32 sums; the maximum is subtracted, weights are rounded to f16 for the second product and
// summed in f32 before that. A row's result depends on its sequence alone. Not in place.
// REFERENCE: backend/cpu/attention.rs.
#include "attention_tiles.cuh"

namespace attention {

using attention_tiles::PITCH;
using attention_tiles::QUERIES;
using attention_tiles::SIZE;

// Where the parts of one head of one sequence begin.
template <class T>
struct Head {
    const T* q;
    const T* k;
    const T* v;
    T* out;
    size_t in_stride;
    size_t out_stride;

    __device__ __forceinline__ Head(const T* __restrict__ qkv, int tokens, int heads, T* __restrict__ target)
        : in_stride(static_cast<size_t>(3) * heads * SIZE), out_stride(static_cast<size_t>(heads) * SIZE) {
        const size_t first = static_cast<size_t>(blockIdx.z) * tokens;
        q = qkv + first * in_stride + blockIdx.y * SIZE;
        k = q + out_stride;
        v = k + out_stride;
        out = target + first * out_stride + blockIdx.y * SIZE;
    }
};

template <int KEYS>
__device__ __forceinline__ void whole_rows(unsigned char* shared, const half_t* __restrict__ qkv, int tokens, int heads,
                                           float scale, half_t* __restrict__ out) {
    static_assert(KEYS % 16 == 0, "keys pass in steps of one fragment");
    half_t* queries = reinterpret_cast<half_t*>(shared);
    half_t* keys = queries + QUERIES * PITCH;
    half_t* values = keys + KEYS * PITCH;
    const Head<half_t> head(qkv, tokens, heads, out);
    const int first = static_cast<int>(blockIdx.x) * QUERIES;

    attention_tiles::fetch<QUERIES>(queries, head.q + first * head.in_stride, head.in_stride, tokens - first);
    attention_tiles::fetch<KEYS>(keys, head.k, head.in_stride, tokens);
    cu::cp_commit();
    // Values arrive under the first product.
    attention_tiles::fetch<KEYS>(values, head.v, head.in_stride, tokens);
    cu::cp_commit();

    const int warp_row = static_cast<int>(threadIdx.x) / reduce::WARP * 16;
    float scores[KEYS / 8][4] = {};
    float total[2] = {};
    cu::cp_wait<1>();
    __syncthreads();
    attention_tiles::multiply_keys<KEYS>(scores, queries + warp_row * PITCH, keys);
    attention_tiles::mask<KEYS>(scores, tokens);
    float largest[2] = {reduce::minus_infinity(), reduce::minus_infinity()};
    attention_tiles::row_max<KEYS>(largest, scores);
    attention_tiles::exponentials<KEYS>(scores, total, largest, scale * attention_tiles::LOG2_E);

    float sums[SIZE / 8][4] = {};
    cu::cp_wait<0>();
    __syncthreads();
    attention_tiles::multiply_values<KEYS>(sums, scores, values);
    attention_tiles::finish(sums, total, head.out, head.out_stride, first + warp_row, tokens);
}

constexpr int TILE = 64;

__device__ __forceinline__ void online(unsigned char* shared, const half_t* __restrict__ qkv, int tokens, int heads,
                                       float scale, half_t* __restrict__ out) {
    half_t* queries = reinterpret_cast<half_t*>(shared);
    half_t* tiles = queries + QUERIES * PITCH;
    const Head<half_t> head(qkv, tokens, heads, out);
    const int first = static_cast<int>(blockIdx.x) * QUERIES;
    // Stage s: 64 keys, then their values.
    const auto fetch_tile = [&](int stage, int key) {
        half_t* tile = tiles + stage * 2 * TILE * PITCH;
        attention_tiles::fetch<TILE>(tile, head.k + key * head.in_stride, head.in_stride, tokens - key);
        attention_tiles::fetch<TILE>(tile + TILE * PITCH, head.v + key * head.in_stride, head.in_stride, tokens - key);
        cu::cp_commit();
    };
    attention_tiles::fetch<QUERIES>(queries, head.q + first * head.in_stride, head.in_stride, tokens - first);
    fetch_tile(0, 0);

    const int warp_row = static_cast<int>(threadIdx.x) / reduce::WARP * 16;
    const float exponent = scale * attention_tiles::LOG2_E;
    float sums[SIZE / 8][4] = {};
    float total[2] = {};
    float largest[2] = {reduce::minus_infinity(), reduce::minus_infinity()};
    int stage = 0;
    for (int key = 0; key < tokens; key += TILE) {
        cu::cp_wait<0>();
        // Also: every warp is done with the other stage, which the next tile overwrites.
        __syncthreads();
        if (key + TILE < tokens) fetch_tile(stage ^ 1, key + TILE);
        const half_t* keys = tiles + stage * 2 * TILE * PITCH;
        float scores[TILE / 8][4] = {};
        attention_tiles::multiply_keys<TILE>(scores, queries + warp_row * PITCH, keys);
        attention_tiles::mask<TILE>(scores, tokens - key);
        const float before[2] = {largest[0], largest[1]};
        attention_tiles::row_max<TILE>(largest, scores);
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const float shrink = exp2f((before[r] - largest[r]) * exponent);
            total[r] *= shrink;
#pragma unroll
            for (int n = 0; n < SIZE / 8; n++) {
                sums[n][2 * r] *= shrink;
                sums[n][2 * r + 1] *= shrink;
            }
        }
        attention_tiles::exponentials<TILE>(scores, total, largest, exponent);
        attention_tiles::multiply_values<TILE>(sums, scores, keys + TILE * PITCH);
        stage ^= 1;
    }
    attention_tiles::finish(sums, total, head.out, head.out_stride, first + warp_row, tokens);
}

constexpr int PLAIN_QUERIES = 8;

__device__ __forceinline__ void plain(unsigned char* shared, const float* __restrict__ qkv, int tokens, int heads,
                                      float scale, float* __restrict__ out) {
    const int padded = (tokens + reduce::WARP - 1) / reduce::WARP * reduce::WARP;
    const int warp = static_cast<int>(threadIdx.x) / reduce::WARP;
    const int lane = static_cast<int>(threadIdx.x) % reduce::WARP;
    float* q = reinterpret_cast<float*>(shared) + warp * (SIZE + padded);
    float* weights = q + SIZE;
    const Head<float> head(qkv, tokens, heads, out);
    const int query = static_cast<int>(blockIdx.x) * PLAIN_QUERIES + warp;
    // Warps without a query repeat the last one, so that all reach every barrier.
    const size_t row = query < tokens ? query : tokens - 1;

    q[lane] = head.q[row * head.in_stride + lane];
    q[lane + 32] = head.q[row * head.in_stride + lane + 32];
    __syncthreads();
    float largest = reduce::minus_infinity();
    for (int key = lane; key < tokens; key += reduce::WARP) {
        const float* k = head.k + key * head.in_stride;
        float product = 0.0f;
#pragma unroll 2
        for (int d = 0; d < SIZE; d += 8) {
            float part[8];
            vec::load8(k + d, part);
#pragma unroll
            for (int i = 0; i < 8; i++) product = fmaf(q[d + i], part[i], product);
        }
        weights[key] = product;
        largest = fmaxf(largest, product);
    }
    largest = reduce::max(largest);
    float total = 0.0f;
    for (int key = lane; key < tokens; key += reduce::WARP) {
        weights[key] = expf((weights[key] - largest) * scale);
        total += weights[key];
    }
    const float inverse = 1.0f / reduce::sum(total);
    __syncthreads();
    float low = 0.0f, high = 0.0f;
    for (int key = 0; key < tokens; key++) {
        const float* v = head.v + key * head.in_stride;
        low = fmaf(weights[key], v[lane], low);
        high = fmaf(weights[key], v[lane + 32], high);
    }
    if (query >= tokens) return;
    head.out[row * head.out_stride + lane] = low * inverse;
    head.out[row * head.out_stride + lane + 32] = high * inverse;
}

}  // namespace attention

extern "C" __global__ void __launch_bounds__(128)
    attention_f16_64(const half_t* __restrict__ qkv, int tokens, int heads, float scale, half_t* __restrict__ out) {
    CU_SHARED(shared);
    attention::whole_rows<64>(shared, qkv, tokens, heads, scale, out);
}
CU_EXPORT(attention_f16_64);

extern "C" __global__ void __launch_bounds__(128)
    attention_f16_208(const half_t* __restrict__ qkv, int tokens, int heads, float scale, half_t* __restrict__ out) {
    CU_SHARED(shared);
    attention::whole_rows<208>(shared, qkv, tokens, heads, scale, out);
}
CU_EXPORT(attention_f16_208);

extern "C" __global__ void __launch_bounds__(128)
    attention_f16_240(const half_t* __restrict__ qkv, int tokens, int heads, float scale, half_t* __restrict__ out) {
    CU_SHARED(shared);
    attention::whole_rows<240>(shared, qkv, tokens, heads, scale, out);
}
CU_EXPORT(attention_f16_240);

extern "C" __global__ void __launch_bounds__(128)
    attention_f16_272(const half_t* __restrict__ qkv, int tokens, int heads, float scale, half_t* __restrict__ out) {
    CU_SHARED(shared);
    attention::whole_rows<272>(shared, qkv, tokens, heads, scale, out);
}
CU_EXPORT(attention_f16_272);

extern "C" __global__ void __launch_bounds__(128)
    attention_online_f16(const half_t* __restrict__ qkv, int tokens, int heads, float scale, half_t* __restrict__ out) {
    CU_SHARED(shared);
    attention::online(shared, qkv, tokens, heads, scale, out);
}
CU_EXPORT(attention_online_f16);

extern "C" __global__ void __launch_bounds__(256, 2)
    attention_f32(const float* __restrict__ qkv, int tokens, int heads, float scale, float* __restrict__ out) {
    CU_SHARED(shared);
    attention::plain(shared, qkv, tokens, heads, scale, out);
}
CU_EXPORT(attention_f32);
