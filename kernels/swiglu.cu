// out = silu(a) * b of each row, silu(a) = a / (1 + exp(-a)): the gate of a SwiGLU MLP. a is the first half of the row,
// b the second.
//
//   x    [rows, 2 * width]  T, in
//   out  [rows, width]      T, out
//
// LAUNCH: grid ceil(rows * width / 2048), block 256 (eight elements a thread), no shared memory. Pointers 16-byte aligned; any
// width.
// NUMERICS: f32, rounded once; expf at full precision. Not in place.
// REFERENCE: backend/cpu/swiglu.rs.
#include "vec.cuh"

namespace swiglu {

constexpr int THREADS = 256;
constexpr int EACH = 8;

__device__ __forceinline__ float gate(float a, float b) {
    return a / (1.0f + expf(-a)) * b;
}

template <class T>
__device__ __forceinline__ void gated(const T* __restrict__ x, int rows, int width, T* __restrict__ out) {
    const size_t first = (static_cast<size_t>(blockIdx.x) * THREADS + threadIdx.x) * EACH;
    const size_t end = static_cast<size_t>(rows) * width;
    if (width % EACH == 0) {
        // The eight are of one row, and aligned in both halves of it.
        if (first >= end) return;
        const T* a = x + first / width * 2 * width + first % width;
        float v[EACH], w[EACH];
        vec::load8(a, v);
        vec::load8(a + width, w);
#pragma unroll
        for (int i = 0; i < EACH; i++) v[i] = gate(v[i], w[i]);
        vec::store8(out + first, v);
    } else {
        for (size_t i = first; i < first + EACH && i < end; i++) {
            const T* a = x + i / width * 2 * width + i % width;
            vec::put(out + i, gate(vec::scalar(a[0]), vec::scalar(a[width])));
        }
    }
}

}  // namespace swiglu

extern "C" __global__ void __launch_bounds__(256)
    swiglu_f16(const half_t* __restrict__ x, int rows, int width, half_t* __restrict__ out) {
    swiglu::gated(x, rows, width, out);
}
CU_EXPORT(swiglu_f16);

extern "C" __global__ void __launch_bounds__(256)
    swiglu_f32(const float* __restrict__ x, int rows, int width, float* __restrict__ out) {
    swiglu::gated(x, rows, width, out);
}
CU_EXPORT(swiglu_f32);
