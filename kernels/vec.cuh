// Loads and stores of 16 bytes, in f32 registers whatever the memory holds.
#pragma once
#include "cu.cuh"

namespace vec {

struct alignas(16) Quad {
    uint32_t word[4];
};

struct alignas(8) Pair {
    uint32_t word[2];
};

static_assert(sizeof(Quad) == 16 && sizeof(Pair) == 8 && sizeof(half_t) == 2, "one memory access each");

__device__ __forceinline__ void unpack(uint32_t pair, float& low, float& high) {
    low = cu::to_float(half_t{static_cast<unsigned short>(pair & 0xffffu)});
    high = cu::to_float(half_t{static_cast<unsigned short>(pair >> 16)});
}

__device__ __forceinline__ void load4(const float* p, float (&v)[4]) {
    const Quad quad = *reinterpret_cast<const Quad*>(p);
#pragma unroll
    for (int i = 0; i < 4; i++) v[i] = cu::float_of(quad.word[i]);
}

__device__ __forceinline__ void store4(float* p, const float (&v)[4]) {
    *reinterpret_cast<Quad*>(p) = Quad{{cu::bits_of(v[0]), cu::bits_of(v[1]), cu::bits_of(v[2]), cu::bits_of(v[3])}};
}

__device__ __forceinline__ void store4(half_t* p, const float (&v)[4]) {
    *reinterpret_cast<Pair*>(p) = Pair{{cu::pack(v[0], v[1]), cu::pack(v[2], v[3])}};
}

__device__ __forceinline__ void load8(const float* p, float (&v)[8]) {
    const Quad low = reinterpret_cast<const Quad*>(p)[0];
    const Quad high = reinterpret_cast<const Quad*>(p)[1];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        v[i] = cu::float_of(low.word[i]);
        v[4 + i] = cu::float_of(high.word[i]);
    }
}

__device__ __forceinline__ void load8(const half_t* p, float (&v)[8]) {
    const Quad quad = *reinterpret_cast<const Quad*>(p);
#pragma unroll
    for (int i = 0; i < 4; i++) unpack(quad.word[i], v[2 * i], v[2 * i + 1]);
}

__device__ __forceinline__ void store8(float* p, const float (&v)[8]) {
    store4(p, {v[0], v[1], v[2], v[3]});
    store4(p + 4, {v[4], v[5], v[6], v[7]});
}

__device__ __forceinline__ void store8(half_t* p, const float (&v)[8]) {
    *reinterpret_cast<Quad*>(p) =
        Quad{{cu::pack(v[0], v[1]), cu::pack(v[2], v[3]), cu::pack(v[4], v[5]), cu::pack(v[6], v[7])}};
}

__device__ __forceinline__ float scalar(float v) {
    return v;
}

__device__ __forceinline__ float scalar(half_t v) {
    return cu::to_float(v);
}

__device__ __forceinline__ void put(float* p, float v) {
    *p = v;
}

__device__ __forceinline__ void put(half_t* p, float v) {
    *p = cu::to_half(v);
}

}  // namespace vec
