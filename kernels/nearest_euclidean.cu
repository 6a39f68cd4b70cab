// The nearest bank row of every query row by the Euclidean distance, of rows of any length: every pair by its differences, in
// which nothing cancels.
//
// nearest_euclidean:
//   queries  [count, width]    f32, in
//   bank     one BankTensor in device memory, in: [bank->rows, width], f32
//   keys     [count]           u64, in and out, zero before the launch: the largest of
//                              ordered(-distance²) << 32 | (2^32 - 1 - index), see ordered.cuh
// LAUNCH: grid (ceil(count / 64), splits), block 128, shared 25344 bytes ((64 + 128) * 33 * 4). Block s of `splits` takes the
// bank's tiles s, s + splits, ...; any splits >= 1, more than there are tiles included.
// NUMERICS: f32 sums in one order for every place in a tile, so that a distance depends on its two rows alone. Of equal distances
// the lowest index wins, NaN is above all; a maximum has no order, so that neither splits nor timing change a bit.
//
// euclidean_map: map = valid * distance, of what the search left.
//   keys    [count]  u64, in
//   valid   [count]  f32, in: 1, or 0 where a cell is ignored; may be null: every cell counts
//   map     [count]  f32, out
//   mirror  [count]  f32, out, may be null: the same in the host's memory
// LAUNCH: grid ceil(count / 256), block 256, no shared memory.
// REFERENCE: backend/cpu/nearest_euclidean.rs.
#include "search.cuh"

namespace euclidean {

using namespace search;

constexpr int DEPTH = 32;
// Floats from row to row: neighbouring rows begin in neighbouring banks.
constexpr int PITCH = DEPTH + 1;
constexpr int ROWS_AT_ONCE = THREADS / DEPTH;
// Eight queries and eight bank rows a thread, strided, so that neighbouring lanes read neighbouring rows.
constexpr int EACH = 8;
constexpr int QUERY_STEP = QUERIES / EACH;
constexpr int BANK_STEP = BANK / EACH;

static_assert((QUERIES + BANK) * PITCH * 4 == 25344, "the launcher's shared memory");
static_assert(QUERY_STEP * BANK_STEP == THREADS, "threads cover the tile");

// `DEPTH` columns of `rows` rows from `first` on, zeros where there are none.
__device__ __forceinline__ void copy(float* to, const float* __restrict__ from, int rows, int first, int last,
                                     int column, int width) {
    const int thread = static_cast<int>(threadIdx.x);
    const int own = column + thread % DEPTH;
#pragma unroll 4
    for (int row = thread / DEPTH; row < rows; row += ROWS_AT_ONCE) {
        const bool inside = first + row < last && own < width;
        to[row * PITCH + thread % DEPTH] = inside ? from[static_cast<size_t>(first + row) * width + own] : 0.0f;
    }
}

__device__ __forceinline__ void run(unsigned char* shared, const Work<float>& work, int width) {
    // Other threads write these: not `__restrict__`.
    float* a = reinterpret_cast<float*>(shared);
    float* b = a + QUERIES * PITCH;
    const int thread = static_cast<int>(threadIdx.x);
    const int query = thread / BANK_STEP;
    const int bank = thread % BANK_STEP;
    Best best[EACH];
    for (int i = 0; i < work.tiles; i++) {
        const int tile = (work.first_tile + i * work.tile_step) * BANK;
        float squares[EACH][EACH] = {};
        for (int column = 0; column < width; column += DEPTH) {
            copy(a, work.queries, QUERIES, 0, work.query_count, column, width);
            copy(b, work.bank, BANK, tile, work.bank_rows, column, width);
            __syncthreads();
#pragma unroll 4
            for (int depth = 0; depth < DEPTH; depth++) {
                float x[EACH];
#pragma unroll
                for (int q = 0; q < EACH; q++) x[q] = a[(query + q * QUERY_STEP) * PITCH + depth];
#pragma unroll
                for (int p = 0; p < EACH; p++) {
                    const float y = b[(bank + p * BANK_STEP) * PITCH + depth];
#pragma unroll
                    for (int q = 0; q < EACH; q++) {
                        const float d = x[q] - y;
                        squares[q][p] = fmaf(d, d, squares[q][p]);
                    }
                }
            }
            // The next copies overwrite what slower warps still read.
            __syncthreads();
        }
#pragma unroll
        for (int p = 0; p < EACH; p++) {
            const int row = tile + bank + p * BANK_STEP;
#pragma unroll
            for (int q = 0; q < EACH; q++) best[q].offer(-squares[q][p], row, row < work.bank_rows);
        }
    }
    // Sixteen lanes share a query.
#pragma unroll
    for (int q = 0; q < EACH; q++) {
#pragma unroll
        for (int mask = 1; mask < BANK_STEP; mask *= 2) best[q].meet(mask);
        if (bank == 0) best[q].publish(work.keys, query + q * QUERY_STEP, work.query_count);
    }
}

}  // namespace euclidean

extern "C" __global__ void __launch_bounds__(128, 2)
    nearest_euclidean(const float* __restrict__ queries, int count, const BankTensor* __restrict__ bank, int width,
                      unsigned long long* __restrict__ keys) {
    CU_SHARED(shared);
    euclidean::run(shared, {queries, 0, count, bank, width, keys, 0}, width);
}
CU_EXPORT(nearest_euclidean);

extern "C" __global__ void __launch_bounds__(256)
    euclidean_map(const unsigned long long* __restrict__ keys, const float* __restrict__ valid, int count,
                  float* __restrict__ map, float* __restrict__ mirror) {
    const int i = static_cast<int>(blockIdx.x * 256 + threadIdx.x);
    if (i >= count) return;
    const float squares = -ordered::to_float(static_cast<uint32_t>(keys[i] >> 32));
    const float distance = (valid == nullptr ? 1.0f : valid[i]) * sqrtf(squares);
    map[i] = distance;
    if (mirror != nullptr) mirror[i] = distance;
}
CU_EXPORT(euclidean_map);
