// Floats as integers of the same order, so that a maximum and its index fit one 64-bit atomic.
#pragma once
#include "cu.cuh"

namespace ordered {

// Ascending with f; NaN, of either sign, is above all numbers: a broken cosine must reach the score.
__device__ __forceinline__ uint32_t from_float(float f) {
    const uint32_t bits = cu::bits_of(f);
    const uint32_t flip = (bits & 0x80000000u) != 0 ? 0xffffffffu : 0x80000000u;
    return f != f ? 0xffffffffu : bits ^ flip;
}

__device__ __forceinline__ float to_float(uint32_t key) {
    return cu::float_of((key & 0x80000000u) != 0 ? key ^ 0x80000000u : ~key);
}

// The greater of two keys has the greater value or, at equal values, the lower index.
__device__ __forceinline__ unsigned long long key(uint32_t value, uint32_t index) {
    return static_cast<unsigned long long>(value) << 32 | (0xffffffffu - index);
}

}  // namespace ordered
