// The mean distance of an image's class embedding, scaled to unit length where asked for, to those of the normal images:
// out = mean over images of || class / max(||class||, 1e-12) - image ||, or of || class - image ||.
//
//   class   [views, width]  f32, in: scaled where `unit_length` is not 0
//   images  one BankTensor, in: [images->rows, width], f32, at most 50
//   out     [views, pitch]  f32, out: `column` of each row; the others stay
//   mirror  [views, pitch]  f32, out, may be null: the same in the host's memory
//
// LAUNCH: grid views, block 256, shared (width + 50 + 8) * 4 bytes.
// NUMERICS: f32; a lane's elements in order, lanes as a butterfly, warps and images in order.
// REFERENCE: methods/spade/image/cpu.rs.
#include "abi.cuh"
#include "reduce.cuh"

namespace spade {

constexpr int THREADS = 256;
constexpr int WARPS = THREADS / reduce::WARP;
constexpr int MOST = 50;

}  // namespace spade

extern "C" __global__ void __launch_bounds__(256)
    spade_image(const float* __restrict__ class_embedding, int width, const BankTensor* __restrict__ images,
                int unit_length, int pitch, int column, float* __restrict__ out, float* __restrict__ mirror) {
    using namespace spade;
    CU_SHARED(shared);
    // Other threads write these: not `__restrict__`.
    float* unit = reinterpret_cast<float*>(shared);
    float* distances = unit + width;
    float* warps = distances + MOST;
    const int thread = static_cast<int>(threadIdx.x);
    const int warp = thread / reduce::WARP;
    const int lane = thread % reduce::WARP;
    const float* own = class_embedding + static_cast<size_t>(blockIdx.x) * width;
    const int count = static_cast<int>(images->rows);
    const float* all = static_cast<const float*>(images->data);

    float squares = 0.0f;
#pragma unroll 1
    for (int at = thread; at < width; at += THREADS) {
        unit[at] = own[at];
        squares = fmaf(own[at], own[at], squares);
    }
    squares = reduce::sum(squares);
    if (lane == 0) warps[warp] = squares;
    __syncthreads();
    float total = 0.0f;
#pragma unroll
    for (int w = 0; w < WARPS; w++) total += warps[w];
    const float scale = unit_length != 0 ? 1.0f / fmaxf(sqrtf(total), 1e-12f) : 1.0f;
#pragma unroll 1
    for (int image = warp; image < count; image += WARPS) {
        float sum = 0.0f;
#pragma unroll 1
        for (int at = lane; at < width; at += reduce::WARP) {
            const float d = unit[at] * scale - all[static_cast<size_t>(image) * width + at];
            sum = fmaf(d, d, sum);
        }
        sum = reduce::sum(sum);
        if (lane == 0) distances[image] = sqrtf(sum);
    }
    __syncthreads();
    if (thread != 0) return;
    float sum = 0.0f;
#pragma unroll 1
    for (int image = 0; image < count; image++) sum += distances[image];
    const float mean = sum / static_cast<float>(count);
    const size_t at = static_cast<size_t>(blockIdx.x) * pitch + column;
    out[at] = mean;
    if (mirror != nullptr) mirror[at] = mean;
}
CU_EXPORT(spade_image);
