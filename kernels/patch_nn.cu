// The nearest bank row of every query row in every layer: the largest cosine, and its index. The product of queries
// and bank passes through registers alone; no similarity matrix exists, whatever the number of rows.
//
//   queries  [layers, query_pitch, width]  T, in: unit rows, of which the first `count` of each layer are searched for
//   bank     one BankTensor in device memory, in: [layers, bank->rows, width], T, unit rows
//   keys     [layers, key_pitch]           u64, in and out, zero before the launch: the largest of
//                                          ordered(cosine) << 32 | (2^32 - 1 - index), see ordered.cuh
//
// LAUNCH: grid (ceil(count / 64), splits, layers), block 128, shared 82944 bytes for f16 (three stages of
// (64 + 128) * 144) and 27648 for f32 ((64 + 128) * 144). Block s of `splits` takes the bank's tiles s, s + splits,
// ...; any splits >= 1, more than there are tiles included. width a multiple of 64; pointers 16-byte aligned.
// NUMERICS: f32 sums in one order for every place in a tile, so that a cosine depends on its two rows alone. Of equal
// cosines the lowest index wins, NaN is above all; a maximum has no order, so that neither splits nor timing change a
// bit.
// REFERENCE: backend/cpu/patch_nn.
#include "search.cuh"
#include "vec.cuh"

namespace patch_nn {

using namespace search;

namespace half_tiles {

constexpr int DEPTH = 64;
// Halves from row to row: ldmatrix's eight rows lie in different banks.
constexpr int PITCH = DEPTH + 8;
constexpr int STAGES = 3;
constexpr int STAGE = (QUERIES + BANK) * PITCH;
constexpr int PIECES = DEPTH / 8;
constexpr int ROWS_AT_ONCE = THREADS / PIECES;
// Two by two warps, each 32 queries by 64 bank rows.
constexpr int WARP_QUERIES = 32;
constexpr int WARP_BANK = 64;

static_assert(STAGES * STAGE * 2 == 82944, "the launcher's shared memory");
static_assert(THREADS / reduce::WARP * WARP_QUERIES * WARP_BANK == QUERIES * BANK, "warps cover the tile");

struct Fragments {
    uint32_t a[WARP_QUERIES / 16][4];
    uint32_t b[WARP_BANK / 16][4];

    __device__ __forceinline__ void load(const half_t* a_row, const half_t* b_row, int depth) {
#pragma unroll
        for (int m = 0; m < WARP_QUERIES / 16; m++) cu::ldmatrix_x4(a[m], a_row + m * 16 * PITCH + depth);
#pragma unroll
        for (int n = 0; n < WARP_BANK / 16; n++) cu::ldmatrix_x4(b[n], b_row + n * 16 * PITCH + depth);
    }
};

__device__ __forceinline__ void run(unsigned char* shared, const Work<half_t>& work, int width) {
    half_t* stages = reinterpret_cast<half_t*>(shared);
    const int thread = static_cast<int>(threadIdx.x);
    const int lane = thread % reduce::WARP;
    const int warp_query = thread / reduce::WARP / 2 * WARP_QUERIES;
    const int warp_bank = thread / reduce::WARP % 2 * WARP_BANK;
    const int slices = width / DEPTH;
    const int steps = work.tiles * slices;

    // The copies run ahead of the products, across the borders of tiles.
    const int piece = thread % PIECES * 8;
    const int copy_row = thread / PIECES;
    int ahead_tile = work.first_tile;
    int ahead_slice = 0;
    const auto fetch = [&](int stage) {
        half_t* a = stages + stage * STAGE + copy_row * PITCH + piece;
        half_t* b = a + QUERIES * PITCH;
        const int column = ahead_slice * DEPTH + piece;
#pragma unroll
        for (int step = 0; step < QUERIES; step += ROWS_AT_ONCE) {
            const int row = copy_row + step;
            const bool inside = row < work.query_count;
            cu::cp16(a + step * PITCH, work.queries + static_cast<size_t>(inside ? row : 0) * width + column, inside);
        }
#pragma unroll
        for (int step = 0; step < BANK; step += ROWS_AT_ONCE) {
            const int row = ahead_tile * BANK + copy_row + step;
            const bool inside = row < work.bank_rows;
            cu::cp16(b + step * PITCH, work.bank + static_cast<size_t>(inside ? row : 0) * width + column, inside);
        }
        if (++ahead_slice == slices) {
            ahead_slice = 0;
            ahead_tile += work.tile_step;
        }
    };
#pragma unroll
    for (int stage = 0; stage < STAGES - 1; stage++) {
        if (stage < steps) fetch(stage);
        cu::cp_commit();
    }

    // Rows that this lane addresses for ldmatrix, within a stage.
    const int a_offset = (warp_query + lane % 16) * PITCH + lane / 16 * 8;
    const int b_offset = (QUERIES + warp_bank + lane % 8 + lane / 16 * 8) * PITCH + lane / 8 % 2 * 8;
    Best best[4];
    float cosines[WARP_QUERIES / 16][WARP_BANK / 8][4] = {};
    int tile = work.first_tile;
    int slice = 0;
    int stage = 0;
    for (int step = 0; step < steps; step++) {
        cu::cp_wait<STAGES - 2>();
        // Also: every warp is done with the stage before this one, which the next copies overwrite.
        __syncthreads();
        if (step + STAGES - 1 < steps) fetch(stage == 0 ? STAGES - 1 : stage - 1);
        cu::cp_commit();

        const half_t* tile_data = stages + stage * STAGE;
        Fragments fragments[2];
        fragments[0].load(tile_data + a_offset, tile_data + b_offset, 0);
#pragma unroll
        for (int depth = 0; depth < DEPTH; depth += 16) {
            const Fragments& now = fragments[depth / 16 % 2];
            if (depth + 16 < DEPTH) {
                fragments[(depth / 16 + 1) % 2].load(tile_data + a_offset, tile_data + b_offset, depth + 16);
            }
#pragma unroll
            for (int m = 0; m < WARP_QUERIES / 16; m++) {
#pragma unroll
                for (int n = 0; n < WARP_BANK / 8; n++) {
                    cu::mma_16816(cosines[m][n], now.a[m], now.b[n / 2][n % 2 * 2], now.b[n / 2][n % 2 * 2 + 1]);
                }
            }
        }
        stage = stage == STAGES - 1 ? 0 : stage + 1;
        if (++slice < slices) continue;

        const int first = tile * BANK + warp_bank + lane % 4 * 2;
#pragma unroll
        for (int n = 0; n < WARP_BANK / 8; n++) {
#pragma unroll
            for (int c = 0; c < 4; c++) {
                const int row = first + n * 8 + c % 2;
#pragma unroll
                for (int m = 0; m < WARP_QUERIES / 16; m++) {
                    best[m * 2 + c / 2].offer(cosines[m][n][c], row, row < work.bank_rows);
                    cosines[m][n][c] = 0.0f;
                }
            }
        }
        slice = 0;
        tile += work.tile_step;
    }
    // No copy is left in flight: the last groups are empty. Four lanes share a row of queries.
#pragma unroll
    for (int r = 0; r < 4; r++) {
        best[r].meet(1);
        best[r].meet(2);
        if (lane % 4 == 0) best[r].publish(work.keys, warp_query + r * 8 + lane / 4, work.query_count);
    }
}

}  // namespace half_tiles

namespace single_tiles {

constexpr int DEPTH = 32;
// Floats from row to row: eight rows, four floats each, lie in different banks.
constexpr int PITCH = DEPTH + 4;
constexpr int PIECES = DEPTH / 4;
constexpr int ROWS_AT_ONCE = THREADS / PIECES;
// Eight queries and eight bank rows a thread, strided, so that neighbouring lanes read neighbouring rows.
constexpr int EACH = 8;
constexpr int QUERY_STEP = QUERIES / EACH;
constexpr int BANK_STEP = BANK / EACH;

static_assert((QUERIES + BANK) * PITCH * 4 == 27648, "the launcher's shared memory");
static_assert(QUERY_STEP * BANK_STEP == THREADS, "threads cover the tile");

__device__ __forceinline__ void run(unsigned char* shared, const Work<float>& work, int width) {
    float* a = reinterpret_cast<float*>(shared);
    float* b = a + QUERIES * PITCH;
    const int thread = static_cast<int>(threadIdx.x);
    const int query = thread / BANK_STEP;
    const int bank = thread % BANK_STEP;
    const int piece = thread % PIECES * 4;
    const int copy_row = thread / PIECES;
    Best best[EACH];
    for (int i = 0; i < work.tiles; i++) {
        const int tile = (work.first_tile + i * work.tile_step) * BANK;
        float cosines[EACH][EACH] = {};
        for (int column = piece; column < width; column += DEPTH) {
            for (int row = copy_row; row < QUERIES; row += ROWS_AT_ONCE) {
                const bool inside = row < work.query_count;
                cu::cp16(a + row * PITCH + piece, work.queries + static_cast<size_t>(inside ? row : 0) * width + column,
                         inside);
            }
            for (int row = copy_row; row < BANK; row += ROWS_AT_ONCE) {
                const bool inside = tile + row < work.bank_rows;
                cu::cp16(b + row * PITCH + piece,
                         work.bank + static_cast<size_t>(inside ? tile + row : 0) * width + column, inside);
            }
            cu::cp_commit();
            cu::cp_wait<0>();
            __syncthreads();
            for (int depth = 0; depth < DEPTH; depth += 4) {
                float x[EACH][4];
#pragma unroll
                for (int q = 0; q < EACH; q++) vec::load4(a + (query + q * QUERY_STEP) * PITCH + depth, x[q]);
#pragma unroll
                for (int p = 0; p < EACH; p++) {
                    float y[4];
                    vec::load4(b + (bank + p * BANK_STEP) * PITCH + depth, y);
#pragma unroll
                    for (int q = 0; q < EACH; q++) {
#pragma unroll
                        for (int k = 0; k < 4; k++) cosines[q][p] = fmaf(x[q][k], y[k], cosines[q][p]);
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
            for (int q = 0; q < EACH; q++) best[q].offer(cosines[q][p], row, row < work.bank_rows);
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

}  // namespace single_tiles

}  // namespace patch_nn

extern "C" __global__ void __launch_bounds__(128, 2)
    patch_nn_f16(const half_t* __restrict__ queries, int query_pitch, int count, const BankTensor* __restrict__ bank,
                 int width, unsigned long long* __restrict__ keys, int key_pitch) {
    CU_SHARED(shared);
    patch_nn::half_tiles::run(shared, {queries, query_pitch, count, bank, width, keys, key_pitch}, width);
}
CU_EXPORT(patch_nn_f16);

extern "C" __global__ void __launch_bounds__(128, 2)
    patch_nn_f32(const float* __restrict__ queries, int query_pitch, int count, const BankTensor* __restrict__ bank,
                 int width, unsigned long long* __restrict__ keys, int key_pitch) {
    CU_SHARED(shared);
    patch_nn::single_tiles::run(shared, {queries, query_pitch, count, bank, width, keys, key_pitch}, width);
}
CU_EXPORT(patch_nn_f32);
