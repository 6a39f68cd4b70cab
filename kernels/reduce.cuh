// Reductions over the 32 lanes of a warp: butterflies, so that every lane holds the result and the order is fixed.
#pragma once
#include "cu.cuh"

namespace reduce {

constexpr int WARP = 32;

__device__ __forceinline__ float minus_infinity() {
    return cu::float_of(0xff800000u);
}

__device__ __forceinline__ float sum(float v) {
#pragma unroll
    for (int mask = WARP / 2; mask > 0; mask /= 2) v += cu::shfl_xor(v, mask);
    return v;
}

__device__ __forceinline__ float max(float v) {
#pragma unroll
    for (int mask = WARP / 2; mask > 0; mask /= 2) v = fmaxf(v, cu::shfl_xor(v, mask));
    return v;
}

// The larger of two, NaN if either is: fmaxf drops NaN, and a broken number must not become a good one.
__device__ __forceinline__ float larger(float a, float b) {
    return b > a || b != b ? b : a;
}

__device__ __forceinline__ float max_or_nan(float v) {
#pragma unroll
    for (int mask = WARP / 2; mask > 0; mask /= 2) v = larger(v, cu::shfl_xor(v, mask));
    return v;
}

// The sum over a block of WARPS warps, for every thread of it. `warps` is shared memory, which other threads write: it must
// not be `__restrict__`, with which nvcc reads it before the barrier.
template <int WARPS, class T>
__device__ __forceinline__ T block_sum(T v, T* warps) {
#pragma unroll
    for (int mask = WARP / 2; mask > 0; mask /= 2) v += cu::shfl_xor(v, mask);
    // Also: every thread has read what the last sum left.
    __syncthreads();
    const int thread = static_cast<int>(threadIdx.x);
    if (thread % WARP == 0) warps[thread / WARP] = v;
    __syncthreads();
    T total = 0;
#pragma unroll
    for (int warp = 0; warp < WARPS; warp++) total += warps[warp];
    return total;
}

}  // namespace reduce
