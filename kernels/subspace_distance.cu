// How far patch tokens lie from a mean, along a few directions and outside them:
//   d = x - mean,  z = directions d,  rest = d - directions^T z
//   map = valid * f(outside ||rest||^2 + sum of weights z^2),  f the identity, or the root
//
//   tokens      [layers, query_pitch, width]  f32, in: the first `count` rows of each layer
//   mean        one BankTensor, in: [places, depth], f32
//   directions  one BankTensor, in: [places, directions->rows, depth], f32, orthonormal or zero
//   weights     one BankTensor, in, may be null: [places, directions->rows], f32
//   channels    one BankTensor, in, may be null: [depth], f32, places in the tokens side by side; then x are these, otherwise
//               the mean over layers of the first depth channels
//   valid       [count]                       f32, in: 1, or 0 where a cell is ignored
//   map         [count]                       f32, out
//   mirror      [count]                       f32, out, may be null: the same in the host's memory
//
// LAUNCH: grid ceil(count / together), block 256, shared (together (depth + most) + 8) * 4 bytes, where `most` is at least
// directions->rows; together is 1 to 4, and 1 where places is `cells`: of row r it is r % cells. `places` is 1 or `cells`.
// NUMERICS: f32; sums over a lane's elements in order, lanes as a butterfly, then warps.
// REFERENCE: backend/cpu/subspace_distance.rs.
#include "abi.cuh"
#include "reduce.cuh"

namespace subspace {

constexpr int THREADS = 256;
constexpr int WARPS = THREADS / reduce::WARP;
constexpr int MOST = 4;

}  // namespace subspace

extern "C" __global__ void __launch_bounds__(256)
    subspace_distance(const float* __restrict__ tokens, int query_pitch, int count, int layers, int width, int cells,
                      int places, int depth, const BankTensor* __restrict__ mean,
                      const BankTensor* __restrict__ directions, const BankTensor* __restrict__ weights,
                      const BankTensor* __restrict__ channels, int together, int most, float outside, int root,
                      const float* __restrict__ valid, float* __restrict__ map, float* __restrict__ mirror) {
    using namespace subspace;
    CU_SHARED(shared);
    // Other threads write these: not `__restrict__`.
    float* rows = reinterpret_cast<float*>(shared);
    float* coordinates = rows + together * depth;
    float* warps = coordinates + together * most;
    const int thread = static_cast<int>(threadIdx.x);
    const int warp = thread / reduce::WARP;
    const int lane = thread % reduce::WARP;
    const int first = static_cast<int>(blockIdx.x) * together;
    const int here = count - first < together ? count - first : together;
    const size_t place = places == 1 ? 0 : first % cells;
    const int number = static_cast<int>(directions->rows);
    const float* centre = static_cast<const float*>(mean->data) + place * depth;
    const float* axes = static_cast<const float*>(directions->data) + place * number * depth;

#pragma unroll 1
    for (int column = thread; column < depth; column += THREADS) {
#pragma unroll 1
        for (int r = 0; r < here; r++) {
            float x = 0.0f;
            if (channels != nullptr) {
                const int channel = static_cast<int>(static_cast<const float*>(channels->data)[column]);
                const size_t row = static_cast<size_t>(channel / width) * query_pitch + first + r;
                x = tokens[row * width + channel % width];
            } else {
#pragma unroll 1
                for (int layer = 0; layer < layers; layer++) {
                    const size_t row = static_cast<size_t>(layer) * query_pitch + first + r;
                    x += tokens[row * width + column];
                }
                x /= static_cast<float>(layers);
            }
            rows[r * depth + column] = x - centre[column];
        }
    }
    __syncthreads();
#pragma unroll 1
    for (int j = warp; j < number; j += WARPS) {
        float sums[MOST] = {};
        for (int column = lane; column < depth; column += reduce::WARP) {
            const float axis = axes[static_cast<size_t>(j) * depth + column];
#pragma unroll
            for (int r = 0; r < MOST; r++) {
                if (r < here) sums[r] = fmaf(axis, rows[r * depth + column], sums[r]);
            }
        }
#pragma unroll
        for (int r = 0; r < MOST; r++) {
            const float z = reduce::sum(sums[r]);
            if (r < here && lane == 0) coordinates[r * most + j] = z;
        }
    }
    __syncthreads();
    float own[MOST] = {};
#pragma unroll 1
    for (int column = thread; column < depth; column += THREADS) {
        float rest[MOST];
#pragma unroll
        for (int r = 0; r < MOST; r++) rest[r] = r < here ? rows[r * depth + column] : 0.0f;
        for (int j = 0; j < number; j++) {
            const float axis = axes[static_cast<size_t>(j) * depth + column];
#pragma unroll
            for (int r = 0; r < MOST; r++) {
                if (r < here) rest[r] = fmaf(-coordinates[r * most + j], axis, rest[r]);
            }
        }
#pragma unroll
        for (int r = 0; r < MOST; r++) own[r] = fmaf(outside * rest[r], rest[r], own[r]);
    }
    if (weights != nullptr) {
        const float* along = static_cast<const float*>(weights->data) + place * number;
#pragma unroll 1
        for (int j = thread; j < number; j += THREADS) {
#pragma unroll
            for (int r = 0; r < MOST; r++) {
                if (r < here) {
                    const float z = coordinates[r * most + j];
                    own[r] = fmaf(along[j] * z, z, own[r]);
                }
            }
        }
    }
#pragma unroll
    for (int r = 0; r < MOST; r++) {
        const float sum = reduce::sum(own[r]);
        // Also: what the row before left has been read.
        __syncthreads();
        if (lane == 0) warps[warp] = sum;
        __syncthreads();
        if (thread == 0 && r < here) {
            float total = 0.0f;
#pragma unroll
            for (int w = 0; w < WARPS; w++) total += warps[w];
            const float distance = valid[first + r] * (root != 0 ? sqrtf(total) : total);
            map[first + r] = distance;
            if (mirror != nullptr) mirror[first + r] = distance;
        }
    }
}
CU_EXPORT(subspace_distance);
