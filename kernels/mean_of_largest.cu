// The mean of the largest valid cells of each map, max(1, valid / one_in) of them; 0 where none is valid, NaN where a
// cell is NaN, ignored or not.
//
//   map     [maps, cells]  f32, in
//   valid   [maps, cells]  f32, in: 1, or 0 where a cell is ignored
//   out     [maps, pitch]  f32, out: `column` of each row; the others stay
//   mirror  [maps, pitch]  f32, out, may be null: the same in the host's memory
//
// LAUNCH: grid maps, block 256, shared 32 bytes. one_in >= 1.
// NUMERICS: the smallest cell that counts is found bit by bit by counting, exactly. Sums are f32: a thread's cells in order,
// lanes as a butterfly, warps in order; of cells equal to the smallest as many are added as are missing.
// REFERENCE: backend/cpu/mean_of_largest.rs.
#include "ordered.cuh"
#include "reduce.cuh"

namespace largest {

constexpr int THREADS = 256;
constexpr int WARPS = THREADS / reduce::WARP;

static_assert(WARPS * 4 == 32, "the launcher's shared memory");

// Where the cell stands among the others; 0, below all numbers, where it does not count.
__device__ __forceinline__ uint32_t place(float cell, float valid) {
    return valid != 0.0f || cell != cell ? ordered::from_float(cell) : 0;
}

}  // namespace largest

extern "C" __global__ void __launch_bounds__(256)
    mean_of_largest(const float* __restrict__ map, const float* __restrict__ valid, int cells, int one_in, int pitch,
                        int column, float* __restrict__ out, float* __restrict__ mirror) {
    using namespace largest;
    CU_SHARED(shared);
    uint32_t* counts = reinterpret_cast<uint32_t*>(shared);
    float* sums = reinterpret_cast<float*>(shared);
    const size_t first = static_cast<size_t>(blockIdx.x) * cells;
    map += first;
    valid += first;
    const int thread = static_cast<int>(threadIdx.x);
    const auto count = [&](auto counts_cell) {
        uint32_t own = 0;
        for (int cell = thread; cell < cells; cell += THREADS) own += counts_cell(cell) ? 1 : 0;
        return reduce::block_sum<WARPS>(own, counts);
    };
    const uint32_t valid_cells = count([&](int cell) { return valid[cell] != 0.0f; });
    const uint32_t share = valid_cells / static_cast<uint32_t>(one_in);
    const uint32_t wanted = share > 1 ? share : 1;

    // The largest value that at least `wanted` cells reach.
    uint32_t smallest = 0;
    for (uint32_t bit = 0x80000000u; bit != 0; bit /= 2) {
        const uint32_t candidate = smallest | bit;
        if (count([&](int cell) { return place(map[cell], valid[cell]) >= candidate; }) >= wanted) smallest = candidate;
    }
    float own = 0.0f;
    uint32_t own_above = 0;
    for (int cell = thread; cell < cells; cell += THREADS) {
        if (place(map[cell], valid[cell]) > smallest) {
            own += map[cell];
            own_above++;
        }
    }
    const uint32_t above = reduce::block_sum<WARPS>(own_above, counts);
    const float sum = reduce::block_sum<WARPS>(own, sums);
    if (thread != 0) return;
    const float rest = smallest == 0 ? 0.0f : static_cast<float>(wanted - above) * ordered::to_float(smallest);
    const float mean = (sum + rest) / static_cast<float>(wanted);
    const size_t at = static_cast<size_t>(blockIdx.x) * pitch + column;
    out[at] = mean;
    if (mirror != nullptr) mirror[at] = mean;
}
CU_EXPORT(mean_of_largest);
