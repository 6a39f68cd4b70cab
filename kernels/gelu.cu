// The activation of the MLP, in place: x = x Phi(x), Phi the normal distribution function in its erf form, or
// x = x / (1 + exp(-1.702 x)), OpenAI's approximation, for weights trained with it.
//
//   x  [len]  T, in and out
//
// LAUNCH: grid ceil(len / 2048), block 256 (eight elements a thread), no shared memory. x 16-byte aligned; any len.
// NUMERICS: f32, rounded once; erff and expf at full precision: the tanh form differs by up to 5e-4, systematically.
// REFERENCE: backend/cpu/gelu.rs.
#include "vec.cuh"

namespace gelu {

constexpr int THREADS = 256;
constexpr int EACH = 8;

struct Exact {
    static __device__ __forceinline__ float apply(float x) {
        return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
    }
};

struct Quick {
    static __device__ __forceinline__ float apply(float x) {
        return x / (1.0f + expf(-1.702f * x));
    }
};

template <class Form, class T>
__device__ __forceinline__ void in_place(T* __restrict__ x, int len) {
    const size_t first = (static_cast<size_t>(blockIdx.x) * THREADS + threadIdx.x) * EACH;
    const size_t end = static_cast<size_t>(len);
    if (first + EACH <= end) {
        float v[EACH];
        vec::load8(x + first, v);
#pragma unroll
        for (int i = 0; i < EACH; i++) v[i] = Form::apply(v[i]);
        vec::store8(x + first, v);
    } else {
        for (size_t i = first; i < end; i++) vec::put(x + i, Form::apply(vec::scalar(x[i])));
    }
}

}  // namespace gelu

extern "C" __global__ void __launch_bounds__(256) gelu_exact_f16(half_t* __restrict__ x, int len) {
    gelu::in_place<gelu::Exact>(x, len);
}
CU_EXPORT(gelu_exact_f16);

extern "C" __global__ void __launch_bounds__(256) gelu_exact_f32(float* __restrict__ x, int len) {
    gelu::in_place<gelu::Exact>(x, len);
}
CU_EXPORT(gelu_exact_f32);

extern "C" __global__ void __launch_bounds__(256) gelu_quick_f16(half_t* __restrict__ x, int len) {
    gelu::in_place<gelu::Quick>(x, len);
}
CU_EXPORT(gelu_quick_f16);

extern "C" __global__ void __launch_bounds__(256) gelu_quick_f32(float* __restrict__ x, int len) {
    gelu::in_place<gelu::Quick>(x, len);
}
CU_EXPORT(gelu_quick_f32);
