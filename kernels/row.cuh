// A row of f32 in the registers of one warp: lane l holds elements 4 l .. 4 l + 3 of each chunk of 128. It is read
// once, whatever number of passes a formula makes; sums run over a lane's elements in order, then over lanes as a
// butterfly, so that they depend on the row alone.
#pragma once
#include "reduce.cuh"
#include "vec.cuh"

namespace row {

constexpr int CHUNK = 128;
constexpr int WARPS = 8;
// Shorter rows are divided by this instead, as PyTorch's `normalize` does: zero stays zero.
constexpr float NORM_EPSILON = 1e-12f;

template <int CHUNKS>
struct Row {
    float v[CHUNKS][4];
    int width;
    int lane;

    __device__ __forceinline__ Row(int width, int lane) : width(width), lane(lane) {
    }

    __device__ __forceinline__ int at(int chunk) const {
        return chunk * CHUNK + lane * 4;
    }

    __device__ __forceinline__ void load(const float* __restrict__ x) {
#pragma unroll
        for (int i = 0; i < CHUNKS; i++) {
            if (at(i) < width) vec::load4(x + at(i), v[i]);
        }
    }

    __device__ __forceinline__ void add(const float* __restrict__ x) {
#pragma unroll
        for (int i = 0; i < CHUNKS; i++) {
            if (at(i) < width) {
                float other[4];
                vec::load4(x + at(i), other);
#pragma unroll
                for (int k = 0; k < 4; k++) v[i][k] += other[k];
            }
        }
    }

    __device__ __forceinline__ float sum() const {
        float total = 0.0f;
#pragma unroll
        for (int i = 0; i < CHUNKS; i++) {
            if (at(i) < width) {
#pragma unroll
                for (int k = 0; k < 4; k++) total += v[i][k];
            }
        }
        return reduce::sum(total);
    }

    // Sum of (x - centre)^2.
    __device__ __forceinline__ float squares(float centre) const {
        float total = 0.0f;
#pragma unroll
        for (int i = 0; i < CHUNKS; i++) {
            if (at(i) < width) {
#pragma unroll
                for (int k = 0; k < 4; k++) {
                    const float d = v[i][k] - centre;
                    total = fmaf(d, d, total);
                }
            }
        }
        return reduce::sum(total);
    }

    // x = (x - mean) / sqrt(var + epsilon) * weight + bias. Two passes over registers: a difference of squares would
    // cancel.
    __device__ __forceinline__ void normalise(const float* __restrict__ weight, const float* __restrict__ bias,
                                              float epsilon) {
        const float mean = sum() / static_cast<float>(width);
        const float scale = 1.0f / sqrtf(squares(mean) / static_cast<float>(width) + epsilon);
#pragma unroll
        for (int i = 0; i < CHUNKS; i++) {
            if (at(i) < width) {
                float w[4], b[4];
                vec::load4(weight + at(i), w);
                vec::load4(bias + at(i), b);
#pragma unroll
                for (int k = 0; k < 4; k++) v[i][k] = fmaf((v[i][k] - mean) * scale, w[k], b[k]);
            }
        }
    }

    // out = x / max(||x||, 1e-12)
    template <class T>
    __device__ __forceinline__ void store_unit(T* __restrict__ out) const {
        store(out, 1.0f / fmaxf(sqrtf(squares(0.0f)), NORM_EPSILON));
    }

    template <class T>
    __device__ __forceinline__ void store(T* __restrict__ out, float scale = 1.0f) const {
#pragma unroll
        for (int i = 0; i < CHUNKS; i++) {
            if (at(i) < width) {
                const float scaled[4] = {v[i][0] * scale, v[i][1] * scale, v[i][2] * scale, v[i][3] * scale};
                vec::store4(out + at(i), scaled);
            }
        }
    }
};

// The row of this warp.
__device__ __forceinline__ int index() {
    return static_cast<int>(blockIdx.x) * WARPS + static_cast<int>(threadIdx.x) / reduce::WARP;
}

__device__ __forceinline__ int lane() {
    return static_cast<int>(threadIdx.x) % reduce::WARP;
}

}  // namespace row
