// What the attention kernels share: heads of 64, tiles of whole heads in shared memory, and the fragments that
// `mma_16816` takes from them. A warp holds 16 queries; lane l has rows l / 4 and l / 4 + 8 of them, and columns
// l % 4 * 2 and the next of every eight.
#pragma once
#include "reduce.cuh"
#include "vec.cuh"

namespace attention_tiles {

constexpr int SIZE = 64;
// Halves from row to row: 144 bytes, so that the eight rows of a tile that ldmatrix reads at once lie in different
// banks.
constexpr int PITCH = SIZE + 8;
constexpr int WARPS = 4;
constexpr int THREADS = WARPS * reduce::WARP;
constexpr int QUERIES = 16 * WARPS;
constexpr float LOG2_E = 1.4426950408889634f;

static_assert(PITCH * 2 % 16 == 0, "rows stay 16-byte aligned");

// Begins to copy ROWS rows of a head, `stride` halves apart, to shared memory; rows from `valid` on become zeros.
template <int ROWS>
__device__ __forceinline__ void fetch(half_t* __restrict__ tile, const half_t* __restrict__ from, size_t stride,
                                      int valid) {
    constexpr int PIECES = SIZE / 8;
    static_assert(ROWS * PIECES % THREADS == 0, "every thread copies as much");
    const int piece = static_cast<int>(threadIdx.x) % PIECES * 8;
    const int first = static_cast<int>(threadIdx.x) / PIECES;
#pragma unroll
    for (int step = 0; step < ROWS; step += THREADS / PIECES) {
        const int row = first + step;
        const bool inside = row < valid;
        cu::cp16(tile + row * PITCH + piece, from + (inside ? row : 0) * stride + piece, inside);
    }
}

// scores[j] += q k^T for 16 queries and keys 8 j .. 8 j + 7, over `KEYS` keys.
template <int KEYS>
__device__ __forceinline__ void multiply_keys(float (&scores)[KEYS / 8][4], const half_t* queries, const half_t* keys) {
    const int lane = static_cast<int>(threadIdx.x) % reduce::WARP;
    const half_t* q = queries + lane % 16 * PITCH + lane / 16 * 8;
    const half_t* k = keys + (lane % 8 + lane / 16 * 8) * PITCH + lane / 8 % 2 * 8;
#pragma unroll
    for (int d = 0; d < SIZE; d += 16) {
        uint32_t a[4];
        cu::ldmatrix_x4(a, q + d);
#pragma unroll
        for (int j = 0; j < KEYS / 8; j += 2) {
            uint32_t b[4];
            cu::ldmatrix_x4(b, k + j * 8 * PITCH + d);
            cu::mma_16816(scores[j], a, b[0], b[1]);
            cu::mma_16816(scores[j + 1], a, b[2], b[3]);
        }
    }
}

// sums[n] += p v for columns 8 n .. 8 n + 7 of the head. The accumulators of two products side by side are, rounded to
// f16, the first operand of the next: weights never leave the registers.
template <int KEYS>
__device__ __forceinline__ void multiply_values(float (&sums)[SIZE / 8][4], const float (&weights)[KEYS / 8][4],
                                                const half_t* values) {
    const int lane = static_cast<int>(threadIdx.x) % reduce::WARP;
    const half_t* v = values + lane % 16 * PITCH + lane / 16 * 8;
#pragma unroll
    for (int j = 0; j < KEYS / 8; j += 2) {
        const uint32_t a[4] = {cu::pack(weights[j][0], weights[j][1]), cu::pack(weights[j][2], weights[j][3]),
                               cu::pack(weights[j + 1][0], weights[j + 1][1]),
                               cu::pack(weights[j + 1][2], weights[j + 1][3])};
#pragma unroll
        for (int n = 0; n < SIZE / 8; n += 2) {
            uint32_t b[4];
            cu::ldmatrix_x4_trans(b, v + j * 8 * PITCH + n * 8);
            cu::mma_16816(sums[n], a, b[0], b[1]);
            cu::mma_16816(sums[n + 1], a, b[2], b[3]);
        }
    }
}

// Keys from `valid` on get no weight.
template <int KEYS>
__device__ __forceinline__ void mask(float (&scores)[KEYS / 8][4], int valid) {
    const int column = static_cast<int>(threadIdx.x) % 4 * 2;
#pragma unroll
    for (int j = 0; j < KEYS / 8; j++) {
        if (j * 8 + 8 <= valid) continue;
#pragma unroll
        for (int c = 0; c < 4; c++) {
            if (j * 8 + column + c % 2 >= valid) scores[j][c] = reduce::minus_infinity();
        }
    }
}

// The largest score of each of the lane's two rows, which four lanes share.
template <int KEYS>
__device__ __forceinline__ void row_max(float (&largest)[2], const float (&scores)[KEYS / 8][4]) {
#pragma unroll
    for (int j = 0; j < KEYS / 8; j++) {
#pragma unroll
        for (int c = 0; c < 4; c++) largest[c / 2] = fmaxf(largest[c / 2], scores[j][c]);
    }
#pragma unroll
    for (int r = 0; r < 2; r++) {
        largest[r] = fmaxf(largest[r], cu::shfl_xor(largest[r], 1));
        largest[r] = fmaxf(largest[r], cu::shfl_xor(largest[r], 2));
    }
}

// scores = 2^(scores scale - largest scale); adds this lane's part of each row to `total`.
template <int KEYS>
__device__ __forceinline__ void exponentials(float (&scores)[KEYS / 8][4], float (&total)[2], const float (&largest)[2],
                                             float scale) {
    const float offset[2] = {-largest[0] * scale, -largest[1] * scale};
#pragma unroll
    for (int j = 0; j < KEYS / 8; j++) {
#pragma unroll
        for (int c = 0; c < 4; c++) {
            scores[j][c] = exp2f(fmaf(scores[j][c], scale, offset[c / 2]));
            total[c / 2] += scores[j][c];
        }
    }
}

// out = sums / total, for the queries that exist.
__device__ __forceinline__ void finish(const float (&sums)[SIZE / 8][4], const float (&total)[2],
                                       half_t* __restrict__ out, size_t stride, int first_query, int queries) {
    const int lane = static_cast<int>(threadIdx.x) % reduce::WARP;
    float inverse[2];
#pragma unroll
    for (int r = 0; r < 2; r++) {
        float whole = total[r] + cu::shfl_xor(total[r], 1);
        whole += cu::shfl_xor(whole, 2);
        inverse[r] = 1.0f / whole;
    }
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const int query = first_query + lane / 4 + r * 8;
        if (query >= queries) continue;
        half_t* row = out + query * stride + lane % 4 * 2;
#pragma unroll
        for (int n = 0; n < SIZE / 8; n++) {
            *reinterpret_cast<uint32_t*>(row + n * 8) =
                cu::pack(sums[n][2 * r] * inverse[r], sums[n][2 * r + 1] * inverse[r]);
        }
    }
}

}  // namespace attention_tiles
