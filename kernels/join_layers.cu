// The rows of all layers side by side: out[row, layer, :] = scale * x[layer, row, :].
//
//   x    [layers, rows, width]  T, in
//   out  [rows, layers, width]  T, out
//
// LAUNCH: grid ceil(layers * rows * width / 8 / 256), block 256, no shared memory. width a multiple of 8; pointers 16-byte
// aligned.
// NUMERICS: a product in f32, rounded once. Not in place.
// REFERENCE: backend/cpu/join_layers.rs.
#include "vec.cuh"

namespace join_layers {

constexpr int EACH = 8;

template <class T>
__device__ __forceinline__ void copy(const T* __restrict__ x, int layers, int rows, int width, float scale,
                                      T* __restrict__ out) {
    const int piece = static_cast<int>(blockIdx.x * 256 + threadIdx.x);
    const int of_row = width / EACH;
    if (piece >= layers * rows * of_row) return;
    const int row = piece / (layers * of_row);
    const int layer = piece / of_row % layers;
    const int column = piece % of_row * EACH;
    float v[EACH];
    vec::load8(x + (static_cast<size_t>(layer) * rows + row) * width + column, v);
#pragma unroll
    for (int k = 0; k < EACH; k++) v[k] *= scale;
    vec::store8(out + static_cast<size_t>(piece) * EACH, v);
}

}  // namespace join_layers

extern "C" __global__ void __launch_bounds__(256)
    join_layers_f16(const half_t* __restrict__ x, int layers, int rows, int width, float scale,
                    half_t* __restrict__ out) {
    join_layers::copy(x, layers, rows, width, scale, out);
}
CU_EXPORT(join_layers_f16);

extern "C" __global__ void __launch_bounds__(256)
    join_layers_f32(const float* __restrict__ x, int layers, int rows, int width, float scale, float* __restrict__ out) {
    join_layers::copy(x, layers, rows, width, scale, out);
}
CU_EXPORT(join_layers_f32);
