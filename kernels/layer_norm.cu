// out = (x - mean(x)) / sqrt(var(x) + epsilon) * weight + bias, row by row; for a tap, unit = x / ||x|| of the patch rows
// in the same pass over x.
//
//   x       [rows, width]  f32, in
//   weight  [width]        f32, in
//   bias    [width]        f32, in
//   out     [rows, width]  T, out
//   unit    [rows / tokens * (tokens - prefix), width]  T, out, may be null: rows r with r % tokens >= prefix, the first
//           tokens of each `tokens` rows left out; a zero row stays zero
//
// LAUNCH: grid ceil(rows / 8), block 256 (a warp a row), no shared memory. width a multiple of 64 up to 2048; pointers
// 16-byte aligned.
// NUMERICS: f32; mean, then variance of the centred row. Not in place.
// REFERENCE: backend/cpu/layer_norm.rs, backend/cpu/unit_patches.rs.
#include "row.cuh"

namespace layer_norm {

template <int CHUNKS, class T>
__device__ __forceinline__ void one_row(const float* __restrict__ x, const float* __restrict__ weight,
                                        const float* __restrict__ bias, float epsilon, int rows,
                                        int width, int tokens, int prefix,
                                        T* __restrict__ out, T* __restrict__ unit) {
    const int r = row::index();
    if (r >= rows) return;
    row::Row<CHUNKS> values(width, row::lane());
    values.load(x + static_cast<size_t>(r) * width);
    const int token = r % tokens;
    if (unit != nullptr && token >= prefix) {
        const int patch = r / tokens * (tokens - prefix) + token - prefix;
        values.store_unit(unit + static_cast<size_t>(patch) * width);
    }
    values.normalise(weight, bias, epsilon);
    values.store(out + static_cast<size_t>(r) * width);
}

// Rows of up to 1024 are padded to 1024 in registers, wider ones to 2048.
template <class T>
__device__ __forceinline__ void rows_of_any_width(const float* __restrict__ x, const float* __restrict__ weight,
                                                  const float* __restrict__ bias, float epsilon, int rows,
                                        int width, int tokens, int prefix,
                                                  T* __restrict__ out, T* __restrict__ unit) {
    if (width <= 8 * row::CHUNK) {
        one_row<8>(x, weight, bias, epsilon, rows, width, tokens, prefix, out, unit);
    } else {
        one_row<16>(x, weight, bias, epsilon, rows, width, tokens, prefix, out, unit);
    }
}

}  // namespace layer_norm

extern "C" __global__ void __launch_bounds__(256)
    layer_norm_f16(const float* __restrict__ x, const float* __restrict__ weight, const float* __restrict__ bias,
                   float epsilon, int rows, int width, int tokens, int prefix, half_t* __restrict__ out, half_t* __restrict__ unit) {
    layer_norm::rows_of_any_width(x, weight, bias, epsilon, rows, width, tokens, prefix, out, unit);
}
CU_EXPORT(layer_norm_f16);

extern "C" __global__ void __launch_bounds__(256)
    layer_norm_f32(const float* __restrict__ x, const float* __restrict__ weight, const float* __restrict__ bias,
                   float epsilon, int rows, int width, int tokens, int prefix, float* __restrict__ out, float* __restrict__ unit) {
    layer_norm::rows_of_any_width(x, weight, bias, epsilon, rows, width, tokens, prefix, out, unit);
}
CU_EXPORT(layer_norm_f32);
