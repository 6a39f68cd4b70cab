// out[s] = x[s * tokens + row]: the row that stands for each sequence.
//
//   x    [sequences * tokens, width]  T, in
//   out  [sequences, width]           T, out
//
// LAUNCH: grid sequences, block 128, no shared memory. width a multiple of 8; pointers 16-byte aligned.
// NUMERICS: a copy. Not in place.
// REFERENCE: backend/cpu/pool_rows.rs.
#include "vec.cuh"

namespace pool_rows {

constexpr int THREADS = 128;

template <class T>
__device__ __forceinline__ void copy(const T* __restrict__ x, int tokens, int row, int width, T* __restrict__ out) {
    const size_t from = (static_cast<size_t>(blockIdx.x) * tokens + row) * width;
    const size_t to = static_cast<size_t>(blockIdx.x) * width;
    const vec::Quad* source = reinterpret_cast<const vec::Quad*>(x + from);
    vec::Quad* target = reinterpret_cast<vec::Quad*>(out + to);
    const int quads = width * static_cast<int>(sizeof(T)) / static_cast<int>(sizeof(vec::Quad));
    for (int i = threadIdx.x; i < quads; i += THREADS) target[i] = source[i];
}

}  // namespace pool_rows

extern "C" __global__ void __launch_bounds__(128)
    pool_rows_f16(const half_t* __restrict__ x, int tokens, int row, int width, half_t* __restrict__ out) {
    pool_rows::copy(x, tokens, row, width, out);
}
CU_EXPORT(pool_rows_f16);

extern "C" __global__ void __launch_bounds__(128)
    pool_rows_f32(const float* __restrict__ x, int tokens, int row, int width, float* __restrict__ out) {
    pool_rows::copy(x, tokens, row, width, out);
}
CU_EXPORT(pool_rows_f32);
