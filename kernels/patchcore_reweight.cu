// PatchCore's weight of an image's distance: out = s (1 - softmax(scale ||q - b_j|| over j)[0]), where s is the largest cell of
// the image's map, the first of equals, q the patch there and b_j the neighbours of the row that was found for it.
//
//   queries     [images * cells, width]  T, in
//   bank        one BankTensor, in: [bank->rows, width], T
//   neighbours  one BankTensor, in: [bank->rows, around], f32, the rows nearest to each, itself the first; negative where
//               there are fewer
//   keys        [images * cells]         u64, in: what `patch_nn` leaves, the row in the lower half (ordered.cuh)
//   map         [images * cells]         f32, in
//   out         [images, pitch]          f32, out: `column` of each row; the others stay
//   mirror      [images, pitch]          f32, out, may be null: the same in the host's memory
//
// LAUNCH: grid images, block 256, shared 100 bytes. around up to 9; pointers of rows 16-byte aligned.
// NUMERICS: f32; expf of differences from the largest distance. NaN in the map is the largest.
// REFERENCE: methods/patchcore/reweight/cpu.rs.
#include "abi.cuh"
#include "ordered.cuh"
#include "reduce.cuh"
#include "vec.cuh"

namespace reweight {

constexpr int THREADS = 256;
constexpr int WARPS = THREADS / reduce::WARP;
constexpr int AROUND = 9;
constexpr int EACH = 8;

static_assert(WARPS * 8 + AROUND * 4 == 100, "the launcher's shared memory");

// The greater of two keys of ordered.cuh, over the warp.
__device__ __forceinline__ void meet(uint32_t& value, uint32_t& place) {
#pragma unroll
    for (int mask = reduce::WARP / 2; mask > 0; mask /= 2) {
        const uint32_t other = cu::shfl_xor(value, mask);
        const uint32_t other_place = cu::shfl_xor(place, mask);
        if (other > value || (other == value && other_place < place)) {
            value = other;
            place = other_place;
        }
    }
}

// ||a - b||² of a lane's elements.
template <class T>
__device__ __forceinline__ float sum_of_squares(const T* __restrict__ a, const T* __restrict__ b, int width, int lane) {
    float squares = 0.0f;
    if (width % EACH != 0) {
#pragma unroll 1
        for (int at = lane; at < width; at += reduce::WARP) {
            const float d = vec::scalar(a[at]) - vec::scalar(b[at]);
            squares = fmaf(d, d, squares);
        }
        return squares;
    }
#pragma unroll 1
    for (int at = lane * EACH; at < width; at += reduce::WARP * EACH) {
        float x[EACH], y[EACH];
        vec::load8(a + at, x);
        vec::load8(b + at, y);
#pragma unroll
        for (int k = 0; k < EACH; k++) {
            const float d = x[k] - y[k];
            squares = fmaf(d, d, squares);
        }
    }
    return squares;
}

template <class T>
__device__ __forceinline__ void image(unsigned char* shared, const T* __restrict__ queries, int width,
                                      const BankTensor* __restrict__ bank, const BankTensor* __restrict__ neighbours,
                                      int around, const unsigned long long* __restrict__ keys,
                                      const float* __restrict__ map, int cells, float scale, int pitch, int column,
                                      float* __restrict__ out, float* __restrict__ mirror) {
    uint32_t* values = reinterpret_cast<uint32_t*>(shared);
    uint32_t* places = values + WARPS;
    float* distances = reinterpret_cast<float*>(places + WARPS);
    const int thread = static_cast<int>(threadIdx.x);
    const int warp = thread / reduce::WARP;
    const int lane = thread % reduce::WARP;
    const size_t first = static_cast<size_t>(blockIdx.x) * cells;
    uint32_t value = 0;
    uint32_t place = 0;
#pragma unroll 1
    for (int cell = thread; cell < cells; cell += THREADS) {
        const uint32_t candidate = ordered::from_float(map[first + cell]);
        if (candidate > value) {
            value = candidate;
            place = static_cast<uint32_t>(cell);
        }
    }
    meet(value, place);
    if (lane == 0) {
        values[warp] = value;
        places[warp] = place;
    }
    __syncthreads();
    value = values[lane % WARPS];
    place = places[lane % WARPS];
    meet(value, place);

    const T* query = queries + (first + place) * width;
    const size_t nearest = 0xffffffffu - static_cast<uint32_t>(keys[first + place]);
    const float* near = static_cast<const float*>(neighbours->data) + nearest * around;
#pragma unroll 1
    for (int j = warp; j < around; j += WARPS) {
        if (near[j] < 0.0f) {
            if (lane == 0) distances[j] = reduce::minus_infinity();
            continue;
        }
        const T* row = static_cast<const T*>(bank->data) + static_cast<size_t>(near[j]) * width;
        float squares = sum_of_squares(query, row, width, lane);
        squares = reduce::sum(squares);
        if (lane == 0) distances[j] = scale * sqrtf(squares);
    }
    __syncthreads();
    if (thread != 0) return;
    float most = distances[0];
#pragma unroll 1
    for (int j = 1; j < around; j++) most = fmaxf(most, distances[j]);
    float rest = 0.0f;
#pragma unroll 1
    for (int j = 1; j < around; j++) rest += expf(distances[j] - most);
    const float weighed = ordered::to_float(value) * (rest / (expf(distances[0] - most) + rest));
    const size_t at = static_cast<size_t>(blockIdx.x) * pitch + column;
    out[at] = weighed;
    if (mirror != nullptr) mirror[at] = weighed;
}

}  // namespace reweight

extern "C" __global__ void __launch_bounds__(256)
    patchcore_reweight_f16(const half_t* __restrict__ queries, int width, const BankTensor* __restrict__ bank,
                           const BankTensor* __restrict__ neighbours, int around,
                           const unsigned long long* __restrict__ keys, const float* __restrict__ map, int cells,
                           float scale, int pitch, int column, float* __restrict__ out, float* __restrict__ mirror) {
    CU_SHARED(shared);
    reweight::image(shared, queries, width, bank, neighbours, around, keys, map, cells, scale, pitch, column, out,
                    mirror);
}
CU_EXPORT(patchcore_reweight_f16);

extern "C" __global__ void __launch_bounds__(256)
    patchcore_reweight_f32(const float* __restrict__ queries, int width, const BankTensor* __restrict__ bank,
                           const BankTensor* __restrict__ neighbours, int around,
                           const unsigned long long* __restrict__ keys, const float* __restrict__ map, int cells,
                           float scale, int pitch, int column, float* __restrict__ out, float* __restrict__ mirror) {
    CU_SHARED(shared);
    reweight::image(shared, queries, width, bank, neighbours, around, keys, map, cells, scale, pitch, column, out,
                    mirror);
}
CU_EXPORT(patchcore_reweight_f32);
