// The parts of a convolution around its product: the neighbourhoods of output cells as rows, and what follows the sums.
//
// unfold_*: rows of operands from a map of f32; unfold_pixels_*: from the patch rows of `preprocess.cu`.
//   x    unfold: [images, rows, cols, channels], f32, in
//        unfold_pixels: [images, rows / patch, cols / patch, 3, patch, patch], T, in: pixels of `rows` x `cols`
//   out  [count, side, side, channels]  T, out: those of output cells first .. first + count of all images; 0 outside the input
//
// LAUNCH: grid ceil(count side² channels / (256 each)), block 256, no shared memory. `each` is 4 for unfold where channels are a
// multiple of 4, x and out then 16-byte aligned; otherwise 1. (count + 1) side² channels + 1024 below 2^31. `out_cols` and `out_cells` are the extents of an image's output,
// its cells every `stride`-th of the input, with a padding of side / 2.
// NUMERICS: copies, rounded to operands once.
//
// rectify: x = max(x, 0), in place.
//   x  [len]  f32, in and out
// LAUNCH: grid ceil(len / 256), block 256, no shared memory.
// NUMERICS: NaN stays NaN, so that it is found later.
// REFERENCE: backend/cpu/convolve.rs.
#include "vec.cuh"

namespace convolve {

constexpr int THREADS = 256;

// Where a thread writes, and from which cell of the input.
struct Place {
    int to;
    int image;
    int row;
    int col;
    int channel;
    bool exists;
    bool inside;

    __device__ __forceinline__ Place(int each, int rows, int cols, int channels, int side, int stride, int out_cols,
                                     int out_cells, int first, int count) {
        to = static_cast<int>(blockIdx.x * THREADS + threadIdx.x) * each;
        const int inputs = side * side * channels;
        const int cell = first + to / inputs;
        const int at = cell % out_cells;
        const int input = to % inputs;
        const int place = input / channels;
        exists = to / inputs < count;
        image = cell / out_cells;
        row = at / out_cols * stride + place / side - side / 2;
        col = at % out_cols * stride + place % side - side / 2;
        channel = input % channels;
        inside = row >= 0 && row < rows && col >= 0 && col < cols;
    }
};

template <class T>
__device__ __forceinline__ void unfold(const float* __restrict__ x, int rows, int cols, int channels, int side,
                                       int stride, int out_cols, int out_cells, int first, int count,
                                       T* __restrict__ out) {
    const bool four = channels % 4 == 0;
    const Place at(four ? 4 : 1, rows, cols, channels, side, stride, out_cols, out_cells, first, count);
    if (!at.exists) return;
    const size_t from = (static_cast<size_t>(at.image) * rows + at.row) * cols + at.col;
    if (four) {
        float v[4] = {};
        if (at.inside) vec::load4(x + from * channels + at.channel, v);
        vec::store4(out + at.to, v);
    } else {
        vec::put(out + at.to, at.inside ? x[from * channels + at.channel] : 0.0f);
    }
}

template <class T>
__device__ __forceinline__ void unfold_pixels(const T* __restrict__ x, int rows, int cols, int patch, int side,
                                              int stride, int out_cols, int out_cells, int first, int count,
                                              T* __restrict__ out) {
    constexpr int CHANNELS = 3;
    const Place at(1, rows, cols, CHANNELS, side, stride, out_cols, out_cells, first, count);
    if (!at.exists) return;
    float v = 0.0f;
    if (at.inside) {
        const size_t patches = static_cast<size_t>(rows / patch) * (cols / patch);
        const size_t own = at.image * patches + static_cast<size_t>(at.row / patch) * (cols / patch) + at.col / patch;
        v = vec::scalar(x[((own * CHANNELS + at.channel) * patch + at.row % patch) * patch + at.col % patch]);
    }
    vec::put(out + at.to, v);
}

}  // namespace convolve

extern "C" __global__ void __launch_bounds__(256)
    unfold_f16(const float* __restrict__ x, int rows, int cols, int channels, int side, int stride, int out_cols,
               int out_cells, int first, int count, half_t* __restrict__ out) {
    convolve::unfold(x, rows, cols, channels, side, stride, out_cols, out_cells, first, count, out);
}
CU_EXPORT(unfold_f16);

extern "C" __global__ void __launch_bounds__(256)
    unfold_f32(const float* __restrict__ x, int rows, int cols, int channels, int side, int stride, int out_cols,
               int out_cells, int first, int count, float* __restrict__ out) {
    convolve::unfold(x, rows, cols, channels, side, stride, out_cols, out_cells, first, count, out);
}
CU_EXPORT(unfold_f32);

extern "C" __global__ void __launch_bounds__(256)
    unfold_pixels_f16(const half_t* __restrict__ x, int rows, int cols, int patch, int side, int stride, int out_cols,
                      int out_cells, int first, int count, half_t* __restrict__ out) {
    convolve::unfold_pixels(x, rows, cols, patch, side, stride, out_cols, out_cells, first, count, out);
}
CU_EXPORT(unfold_pixels_f16);

extern "C" __global__ void __launch_bounds__(256)
    unfold_pixels_f32(const float* __restrict__ x, int rows, int cols, int patch, int side, int stride, int out_cols,
                      int out_cells, int first, int count, float* __restrict__ out) {
    convolve::unfold_pixels(x, rows, cols, patch, side, stride, out_cols, out_cells, first, count, out);
}
CU_EXPORT(unfold_pixels_f32);

extern "C" __global__ void __launch_bounds__(256) rectify(float* __restrict__ x, int len) {
    const size_t i = static_cast<size_t>(blockIdx.x) * convolve::THREADS + threadIdx.x;
    if (i >= static_cast<size_t>(len)) return;
    // NaN is less than nothing.
    if (x[i] < 0.0f) x[i] = 0.0f;
}
CU_EXPORT(rectify);
