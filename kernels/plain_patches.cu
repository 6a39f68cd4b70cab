// out = x of the patch rows, the prefix tokens of each image left out, after a layer norm where there is one: a tap whose rows
// keep their length.
//
//   x       [images * (prefix + patches), width]  f32, in
//   weight  [width]                               f32, in, may be null: then x is not normalised
//   bias    [width]                               f32, in
//   out     [images * patches, width]             f32, out
//
// LAUNCH: grid ceil(images * patches / 8), block 256 (a warp a row), no shared memory. width a multiple of 64
// up to 2048; pointers 16-byte aligned.
// NUMERICS: f32. Not in place.
// REFERENCE: backend/cpu/plain_patches.rs.
#include "row.cuh"

namespace plain {

template <int CHUNKS>
__device__ __forceinline__ void one_row(const float* __restrict__ x, const float* __restrict__ weight,
                                        const float* __restrict__ bias, float epsilon, int images, int prefix,
                                        int patches, int width, float* __restrict__ out) {
    const int r = row::index();
    if (r >= images * patches) return;
    const int token = r / patches * (prefix + patches) + prefix + r % patches;
    row::Row<CHUNKS> values(width, row::lane());
    values.load(x + static_cast<size_t>(token) * width);
    if (weight != nullptr) values.normalise(weight, bias, epsilon);
    values.store(out + static_cast<size_t>(r) * width);
}

}  // namespace plain

extern "C" __global__ void __launch_bounds__(256)
    plain_patches(const float* __restrict__ x, const float* __restrict__ weight, const float* __restrict__ bias,
                  float epsilon, int images, int prefix, int patches, int width, float* __restrict__ out) {
    if (width <= 8 * row::CHUNK) {
        plain::one_row<8>(x, weight, bias, epsilon, images, prefix, patches, width, out);
    } else {
        plain::one_row<16>(x, weight, bias, epsilon, images, prefix, patches, width, out);
    }
}
CU_EXPORT(plain_patches);
