// AnomalyDINO's mask: the first principal component of an image's patch tokens, and the map cut out by it.
//
//   tokens      [images, prefix + patches, W]  f32, in: after the final norm
//   c           [images, W, W]                 f32, in: symmetric
//   out         [images, W, W]                 f32, out: the covariance `Σ (x - mean)(x - mean)^T`, or `(c / trace c)^2`
//   components  [images, patches]              f32, out of `foreground_component`: `x . v`, v the column of c with the largest
//               element of the diagonal, the first of several, to unit length
//   valid       [images, rows * cols]          f32, in: 1, or 0 where a cell is ignored
//   maps        [images, rows * cols]          f32, in and out: 0 where the mask is 0; infinite everywhere where no valid cell
//               is left; NaN stays, and is everywhere where a component is not finite
//   mirror      as maps, out, may be null: the same in the host's memory
//
// The mask: components less their mean, the largest absolute value positive; those above 10, or of the other sign where at most
// `few` cells of the middle [top, bottom) x [left, right) are; dilated, then dilated and eroded, 3 x 3, cells beyond the edge
// not counting.
//
// LAUNCH: foreground_covariance, foreground_squared: grid (W / 64, W / 64, images), block 256, shared 9216 bytes.
// foreground_component: grid (ceil(patches / 8), images), block 256, shared 64 bytes. foreground_cut_out: grid images, block
// 256, shared 32 + 8 * ceil(rows * cols / 32) bytes. W a multiple of 64; pointers 16-byte aligned.
// NUMERICS: f32; an element of a product is one chain in the order of the rows. `maps` in place.
// REFERENCE: methods/anomaly_dino/foreground/cpu.rs.
#include "reduce.cuh"
#include "vec.cuh"

namespace foreground {

constexpr int THREADS = 256;
constexpr int WARPS = THREADS / reduce::WARP;
// Rows and columns of the output that a block computes, and rows of the input that it holds at a time.
constexpr int TILE = 64;
constexpr int STEP = 16;
constexpr float THRESHOLD = 10.0f;
constexpr float NORM_EPSILON = 1e-12f;

static_assert(TILE * STEP == 4 * THREADS, "a thread fetches four numbers of each operand");
static_assert((2 * TILE * STEP + 2 * 2 * TILE) * 4 == 9216, "the launcher's shared memory of the products");

__device__ __forceinline__ int thread() {
    return static_cast<int>(threadIdx.x);
}

// scale * sum over rows of (x - mean)(x - mean)^T * scale, for the tile of this block. `left` and `top` hold what it
// reads, STEP rows at a time; means[0 .. TILE) are those of the tile's rows, the rest those of its columns.
__device__ __forceinline__ void product(const float* __restrict__ x, int rows, int width, float* left, float* top,
                                        const float* means, float scale, float* __restrict__ out) {
    const int row = thread() / (TILE / 4), column = thread() % (TILE / 4) * 4;
    const int down = static_cast<int>(blockIdx.y) * TILE, right = static_cast<int>(blockIdx.x) * TILE;
    float sums[4][4] = {};
    for (int first = 0; first < rows; first += STEP) {
        float a[4] = {}, b[4] = {};
        if (first + row < rows) {
            const float* line = x + static_cast<size_t>(first + row) * width;
            vec::load4(line + down + column, a);
            vec::load4(line + right + column, b);
#pragma unroll
            for (int k = 0; k < 4; k++) {
                a[k] -= means[column + k];
                b[k] -= means[TILE + column + k];
            }
        }
        // Also: every thread has read the rows before.
        __syncthreads();
        vec::store4(left + row * TILE + column, a);
        vec::store4(top + row * TILE + column, b);
        __syncthreads();
#pragma unroll
        for (int step = 0; step < STEP; step++) {
            vec::load4(left + step * TILE + row * 4, a);
            vec::load4(top + step * TILE + column, b);
#pragma unroll
            for (int r = 0; r < 4; r++) {
#pragma unroll
                for (int k = 0; k < 4; k++) sums[r][k] = fmaf(a[r], b[k], sums[r][k]);
            }
        }
    }
#pragma unroll
    for (int r = 0; r < 4; r++) {
        // In two steps, as the square of a scale can be too small.
        const float scaled[4] = {scale * sums[r][0] * scale, scale * sums[r][1] * scale, scale * sums[r][2] * scale,
                                 scale * sums[r][3] * scale};
        vec::store4(out + static_cast<size_t>(down + row * 4 + r) * width + right + column, scaled);
    }
}

// The larger of the diagonal's elements, the first of several.
struct Place {
    float value;
    uint32_t index;
};

__device__ __forceinline__ Place larger(Place a, Place b) {
    return b.value > a.value || (b.value == a.value && b.index < a.index) ? b : a;
}

// Whether a cell of the mask is set, one bit a cell.
__device__ __forceinline__ bool is_set(const uint32_t* mask, int cell) {
    return (mask[cell / 32] >> (cell % 32) & 1u) != 0;
}

// out: `set` where one of the 3 x 3 cells around is `set`, of those that are there.
__device__ __forceinline__ void spread(const uint32_t* mask, uint32_t* out, int rows, int cols, bool set) {
    const int cells = rows * cols;
    for (int word = thread(); word * 32 < cells; word += THREADS) {
        uint32_t bits = 0;
        for (int bit = 0; bit < 32 && word * 32 + bit < cells; bit++) {
            const int row = (word * 32 + bit) / cols, col = (word * 32 + bit) % cols;
            bool found = false;
            // At most three turns: nvcc would unroll them by four.
#pragma unroll 1
            for (int r = max(row - 1, 0); r < min(row + 2, rows); r++) {
#pragma unroll 1
                for (int c = max(col - 1, 0); c < min(col + 2, cols); c++) found |= is_set(mask, r * cols + c) == set;
            }
            bits |= static_cast<uint32_t>(found == set) << bit;
        }
        out[word] = bits;
    }
    __syncthreads();
}

}  // namespace foreground

extern "C" __global__ void __launch_bounds__(256)
    foreground_covariance(const float* __restrict__ tokens, int prefix, int patches, int width,
                          float* __restrict__ out) {
    using namespace foreground;
    CU_SHARED(shared);
    float* left = reinterpret_cast<float*>(shared);
    float* top = left + STEP * TILE;
    float* means = top + STEP * TILE;
    const size_t image = blockIdx.z;
    const float* x = tokens + (image * (prefix + patches) + prefix) * width;
    // Half of the rows of one column each: the tile's rows are columns of x, too.
    const int column = thread() % (2 * TILE), half = thread() / (2 * TILE);
    const int tile = static_cast<int>(column < TILE ? blockIdx.y : blockIdx.x);
    float sum = 0.0f;
    for (int row = half; row < patches; row += 2) {
        sum += x[static_cast<size_t>(row) * width + tile * TILE + column % TILE];
    }
    means[thread()] = sum;
    __syncthreads();
    const float mean = (means[column] + means[2 * TILE + column]) / static_cast<float>(patches);
    __syncthreads();
    if (half == 0) means[column] = mean;
    __syncthreads();
    product(x, patches, width, left, top, means, 1.0f, out + image * width * width);
}
CU_EXPORT(foreground_covariance);

extern "C" __global__ void __launch_bounds__(256)
    foreground_squared(const float* __restrict__ c, int width, float* __restrict__ out) {
    using namespace foreground;
    CU_SHARED(shared);
    float* left = reinterpret_cast<float*>(shared);
    float* top = left + STEP * TILE;
    float* means = top + STEP * TILE;
    const size_t image = blockIdx.z;
    const float* x = c + image * width * width;
    float own = 0.0f;
    for (int i = thread(); i < width; i += THREADS) own += x[static_cast<size_t>(i) * (width + 1)];
    const float trace = reduce::block_sum<WARPS>(own, means);
    __syncthreads();
    if (thread() < 2 * TILE) means[thread()] = 0.0f;
    __syncthreads();
    product(x, width, width, left, top, means, trace == 0.0f ? 0.0f : 1.0f / trace, out + image * width * width);
}
CU_EXPORT(foreground_squared);

extern "C" __global__ void __launch_bounds__(256)
    foreground_component(const float* __restrict__ tokens, const float* __restrict__ c, int prefix, int patches,
                         int width, float* __restrict__ components) {
    using namespace foreground;
    CU_SHARED(shared);
    float* values = reinterpret_cast<float*>(shared);
    uint32_t* places = reinterpret_cast<uint32_t*>(values + WARPS);
    const size_t image = blockIdx.y;
    c += image * width * width;
    Place place = {reduce::minus_infinity(), static_cast<uint32_t>(width - 1)};
    for (int i = thread(); i < width; i += THREADS) {
        place = larger(place, {c[static_cast<size_t>(i) * (width + 1)], static_cast<uint32_t>(i)});
    }
#pragma unroll
    for (int mask = reduce::WARP / 2; mask > 0; mask /= 2) {
        place = larger(place, {cu::shfl_xor(place.value, mask), cu::shfl_xor(place.index, mask)});
    }
    const int warp = thread() / reduce::WARP, lane = thread() % reduce::WARP;
    if (lane == 0) {
        values[warp] = place.value;
        places[warp] = place.index;
    }
    __syncthreads();
    for (int i = 0; i < WARPS; i++) place = larger(place, {values[i], places[i]});

    const int patch = static_cast<int>(blockIdx.x) * WARPS + warp;
    if (patch >= patches) return;
    const float* x = tokens + (image * (prefix + patches) + prefix + patch) * width;
    // A symmetric matrix: the column is a row.
    const float* axis = c + static_cast<size_t>(place.index) * width;
    float dot = 0.0f, squares = 0.0f;
    for (int i = lane * 4; i < width; i += reduce::WARP * 4) {
        float a[4], b[4];
        vec::load4(x + i, a);
        vec::load4(axis + i, b);
#pragma unroll
        for (int k = 0; k < 4; k++) {
            dot = fmaf(a[k], b[k], dot);
            squares = fmaf(b[k], b[k], squares);
        }
    }
    dot = reduce::sum(dot);
    squares = reduce::sum(squares);
    if (lane == 0) components[image * patches + patch] = dot / fmaxf(sqrtf(squares), NORM_EPSILON);
}
CU_EXPORT(foreground_component);

extern "C" __global__ void __launch_bounds__(256)
    foreground_cut_out(const float* __restrict__ components, const float* __restrict__ valid, int rows, int cols,
                       int top, int bottom, int left, int right, int few, float* __restrict__ maps,
                       float* __restrict__ mirror) {
    using namespace foreground;
    CU_SHARED(shared);
    float* sums = reinterpret_cast<float*>(shared);
    uint32_t* counts = reinterpret_cast<uint32_t*>(shared);
    const int cells = rows * cols;
    uint32_t* mask = counts + WARPS;
    uint32_t* room = mask + (cells + 31) / 32;
    const size_t first = static_cast<size_t>(blockIdx.x) * cells;
    components += first;
    valid += first;
    maps += first;

    float own = 0.0f;
    for (int cell = thread(); cell < cells; cell += THREADS) own += components[cell];
    const float mean = reduce::block_sum<WARPS>(own, sums) / static_cast<float>(cells);
    // Neither infinite nor NaN.
    const bool whole = mean - mean == 0.0f;
    float least = 0.0f, most = 0.0f;
    for (int cell = thread(); cell < cells; cell += THREADS) {
        least = fminf(least, components[cell] - mean);
        most = fmaxf(most, components[cell] - mean);
    }
    // Whichever is farther from zero by any thread's cells.
    const float span = fmaxf(-least, 0.0f);
    float widest[2] = {reduce::max(span), reduce::max(most)};
    float extremes[2];
#pragma unroll
    for (int side = 0; side < 2; side++) {
        __syncthreads();
        if (thread() % reduce::WARP == 0) sums[thread() / reduce::WARP] = widest[side];
        __syncthreads();
        extremes[side] = sums[0];
        for (int warp = 1; warp < WARPS; warp++) extremes[side] = fmaxf(extremes[side], sums[warp]);
    }
    float sign = extremes[0] > extremes[1] ? -1.0f : 1.0f;
    uint32_t found = 0;
    for (int cell = thread(); cell < cells; cell += THREADS) {
        const int row = cell / cols, col = cell % cols;
        const bool inside = row >= top && row < bottom && col >= left && col < right;
        found += inside && sign * (components[cell] - mean) > THRESHOLD ? 1 : 0;
    }
    if (reduce::block_sum<WARPS>(found, counts) <= static_cast<uint32_t>(few)) sign = -sign;
    for (int word = thread(); word * 32 < cells; word += THREADS) {
        uint32_t bits = 0;
        for (int bit = 0; bit < 32 && word * 32 + bit < cells; bit++) {
            const bool part = sign * (components[word * 32 + bit] - mean) > THRESHOLD;
            bits |= static_cast<uint32_t>(part) << bit;
        }
        mask[word] = bits;
    }
    __syncthreads();
    spread(mask, room, rows, cols, true);
    spread(room, mask, rows, cols, true);
    spread(mask, room, rows, cols, false);

    uint32_t kept = 0;
    for (int cell = thread(); cell < cells; cell += THREADS) kept += is_set(room, cell) && valid[cell] != 0.0f ? 1 : 0;
    const bool left_over = reduce::block_sum<WARPS>(kept, counts) != 0;
#pragma unroll 1
    for (int cell = thread(); cell < cells; cell += THREADS) {
        const float value = maps[cell];
        float cut = value * (is_set(room, cell) ? 1.0f : 0.0f);
        if (!left_over) cut = cu::float_of(0x7f800000u);
        if (!whole || value != value) cut = cu::float_of(0x7fc00000u);
        maps[cell] = cut;
        if (mirror != nullptr) mirror[first + cell] = cut;
    }
}
CU_EXPORT(foreground_cut_out);
