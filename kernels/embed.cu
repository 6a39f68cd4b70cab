// The tokens of each image: x = layer_norm(content + position; pre), content being the class embedding, then the
// patches; h = layer_norm(x; ln), the first norm of the first block, in the same pass.
//
//   patches   [images * patches_per_image, width]        f32, in
//   cls       [width]                                    f32, in
//   position  [1 + patches_per_image, width]             f32, in
//   pre_weight, pre_bias, ln_weight, ln_bias  [width]    f32, in (the last two unread where h is null)
//   x         [images * (1 + patches_per_image), width]  f32, out
//   h         as x                                       T, out, may be null
//
// LAUNCH: grid ceil(images * (1 + patches_per_image) / 8), block 256 (a warp a row), no shared memory. width a multiple
// of 64 up to 2048; pointers 16-byte aligned.
// NUMERICS: f32; eps 1e-5; mean, then variance of the centred row. Not in place.
// REFERENCE: backend/cpu/embed.rs, backend/cpu/layer_norm.rs.
#include "row.cuh"

namespace embed {

template <int CHUNKS, class T>
__device__ __forceinline__ void one_row(const float* __restrict__ patches, const float* __restrict__ cls,
                                        const float* __restrict__ position, const float* __restrict__ pre_weight,
                                        const float* __restrict__ pre_bias, const float* __restrict__ ln_weight,
                                        const float* __restrict__ ln_bias, int images, int patches_per_image, int width,
                                        float* __restrict__ x, T* __restrict__ h) {
    const int tokens = 1 + patches_per_image;
    const int r = row::index();
    if (r >= images * tokens) return;
    const int image = r / tokens;
    const int token = r % tokens;
    const float* content =
        token == 0 ? cls : patches + (static_cast<size_t>(image) * patches_per_image + token - 1) * width;
    row::Row<CHUNKS> values(width, row::lane());
    values.load(content);
    values.add(position + static_cast<size_t>(token) * width);
    values.normalise(pre_weight, pre_bias);
    values.store(x + static_cast<size_t>(r) * width);
    if (h == nullptr) return;
    values.normalise(ln_weight, ln_bias);
    values.store(h + static_cast<size_t>(r) * width);
}

template <class T>
__device__ __forceinline__ void rows_of_any_width(const float* __restrict__ patches, const float* __restrict__ cls,
                                                  const float* __restrict__ position,
                                                  const float* __restrict__ pre_weight,
                                                  const float* __restrict__ pre_bias,
                                                  const float* __restrict__ ln_weight,
                                                  const float* __restrict__ ln_bias, int images, int patches_per_image,
                                                  int width, float* __restrict__ x, T* __restrict__ h) {
    if (width <= 8 * row::CHUNK) {
        one_row<8>(patches, cls, position, pre_weight, pre_bias, ln_weight, ln_bias, images, patches_per_image, width,
                   x, h);
    } else {
        one_row<16>(patches, cls, position, pre_weight, pre_bias, ln_weight, ln_bias, images, patches_per_image, width,
                    x, h);
    }
}

}  // namespace embed

extern "C" __global__ void __launch_bounds__(256)
    embed_f16(const float* __restrict__ patches, const float* __restrict__ cls, const float* __restrict__ position,
              const float* __restrict__ pre_weight, const float* __restrict__ pre_bias,
              const float* __restrict__ ln_weight, const float* __restrict__ ln_bias, int images, int patches_per_image,
              int width, float* __restrict__ x, half_t* __restrict__ h) {
    embed::rows_of_any_width(patches, cls, position, pre_weight, pre_bias, ln_weight, ln_bias, images,
                             patches_per_image, width, x, h);
}
CU_EXPORT(embed_f16);

extern "C" __global__ void __launch_bounds__(256)
    embed_f32(const float* __restrict__ patches, const float* __restrict__ cls, const float* __restrict__ position,
              const float* __restrict__ pre_weight, const float* __restrict__ pre_bias,
              const float* __restrict__ ln_weight, const float* __restrict__ ln_bias, int images, int patches_per_image,
              int width, float* __restrict__ x, float* __restrict__ h) {
    embed::rows_of_any_width(patches, cls, position, pre_weight, pre_bias, ln_weight, ln_bias, images,
                             patches_per_image, width, x, h);
}
CU_EXPORT(embed_f32);
