// The tokens of each image: prefix tokens, then patches + position, x = layer_norm of these by `pre` where it is not
// null; h = layer_norm(x; ln), the first norm of the first block, in the same pass.
//
//   patches   [images * n, width]             f32, in
//   prefix    [p, width]                      f32, in: positions are added already
//   position  [n, width]                      f32, in
//   pre_weight, pre_bias, ln_weight, ln_bias  [width]  f32, in; pre may be null, ln is unread where h is null
//   x         [images * (p + n), width]       f32, out
//   h         as x                            T, out, may be null
//
// LAUNCH: grid ceil(images * (p + n) / 8), block 256 (a warp a row), no shared memory. width a multiple of 64 up to
// 2048; pointers 16-byte aligned.
// NUMERICS: f32; mean, then variance of the centred row. Not in place.
// REFERENCE: backend/cpu/embed.rs, backend/cpu/layer_norm.rs.
#include "row.cuh"

namespace embed {

// The parameters of a layer norm; weight may be null where there is none.
struct Norm {
    const float* weight;
    const float* bias;
    float epsilon;
};

template <int CHUNKS, class T>
__device__ __forceinline__ void one_row(const float* __restrict__ patches, const float* __restrict__ prefix,
                                        const float* __restrict__ position, const Norm& pre, const Norm& ln, int images,
                                        int p, int n, int width, float* __restrict__ x, T* __restrict__ h) {
    const int tokens = p + n;
    const int r = row::index();
    if (r >= images * tokens) return;
    const int image = r / tokens;
    const int token = r % tokens;
    row::Row<CHUNKS> values(width, row::lane());
    if (token < p) {
        values.load(prefix + static_cast<size_t>(token) * width);
    } else {
        values.load(patches + (static_cast<size_t>(image) * n + token - p) * width);
        values.add(position + static_cast<size_t>(token - p) * width);
    }
    if (pre.weight != nullptr) values.normalise(pre.weight, pre.bias, pre.epsilon);
    values.store(x + static_cast<size_t>(r) * width);
    if (h == nullptr) return;
    values.normalise(ln.weight, ln.bias, ln.epsilon);
    values.store(h + static_cast<size_t>(r) * width);
}

template <class T>
__device__ __forceinline__ void rows_of_any_width(const float* __restrict__ patches, const float* __restrict__ prefix,
                                                  const float* __restrict__ position, const Norm& pre, const Norm& ln,
                                                  int images, int p, int n, int width, float* __restrict__ x,
                                                  T* __restrict__ h) {
    if (width <= 8 * row::CHUNK) {
        one_row<8>(patches, prefix, position, pre, ln, images, p, n, width, x, h);
    } else {
        one_row<16>(patches, prefix, position, pre, ln, images, p, n, width, x, h);
    }
}

}  // namespace embed

extern "C" __global__ void __launch_bounds__(256)
    embed_f16(const float* __restrict__ patches, const float* __restrict__ prefix, const float* __restrict__ position,
              const float* __restrict__ pre_weight, const float* __restrict__ pre_bias, float pre_epsilon,
              const float* __restrict__ ln_weight, const float* __restrict__ ln_bias, float ln_epsilon, int images,
              int p, int n, int width, float* __restrict__ x, half_t* __restrict__ h) {
    embed::rows_of_any_width(patches, prefix, position, {pre_weight, pre_bias, pre_epsilon},
                             {ln_weight, ln_bias, ln_epsilon}, images, p, n, width, x, h);
}
CU_EXPORT(embed_f16);

extern "C" __global__ void __launch_bounds__(256)
    embed_f32(const float* __restrict__ patches, const float* __restrict__ prefix, const float* __restrict__ position,
              const float* __restrict__ pre_weight, const float* __restrict__ pre_bias, float pre_epsilon,
              const float* __restrict__ ln_weight, const float* __restrict__ ln_bias, float ln_epsilon, int images,
              int p, int n, int width, float* __restrict__ x, float* __restrict__ h) {
    embed::rows_of_any_width(patches, prefix, position, {pre_weight, pre_bias, pre_epsilon},
                             {ln_weight, ln_bias, ln_epsilon}, images, p, n, width, x, h);
}
CU_EXPORT(embed_f32);
