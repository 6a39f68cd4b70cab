// Maps from one grid to another, as columns of its rows: bilinear between the centres of cells, clamped at the edges, or the cell
// at floor(row from / to).
//
//   x    [images, from_rows, from_cols, width]  f32, in
//   out  [images, to_rows, to_cols, pitch]      f32, out: width columns from `column` on; the others stay
//
// LAUNCH: grid ceil(len / 256), block 256, no shared memory; `len` is the numbers that are written. 2 from to + to of an axis
// below 2^31.
// NUMERICS: f32; the place between two cells is a quotient of whole numbers. A copy where it is that of a cell.
// REFERENCE: backend/cpu/resample.rs.
#include "cu.cuh"

namespace resample {

// The cells of an axis on either side of the centre of a cell of another, and how far it lies from the first to the second.
struct Between {
    int low;
    int high;
    float share;

    __device__ __forceinline__ Between(int at, int from, int to, bool bilinear) {
        if (from == to || !bilinear) {
            low = at * from / to;
            high = low;
            share = 0.0f;
            return;
        }
        // The centre times 2 to.
        const int place = max((2 * at + 1) * from - to, 0);
        low = place / (2 * to);
        high = min(low + 1, from - 1);
        share = static_cast<float>(place % (2 * to)) / static_cast<float>(2 * to);
    }
};

}  // namespace resample

extern "C" __global__ void __launch_bounds__(256)
    resample_maps(const float* __restrict__ x, int from_rows, int from_cols, int width, int to_rows, int to_cols,
                  int pitch, int column, int bilinear, int len, float* __restrict__ out) {
    using namespace resample;
    const int i = static_cast<int>(blockIdx.x * 256 + threadIdx.x);
    if (i >= len) return;
    const int channel = i % width;
    const int cell = i / width;
    const int image = cell / to_cols / to_rows;
    const Between down(cell / to_cols % to_rows, from_rows, to_rows, bilinear != 0);
    const Between across(cell % to_cols, from_cols, to_cols, bilinear != 0);
    const auto number = [&](int row, int col) {
        return x[((static_cast<size_t>(image) * from_rows + row) * from_cols + col) * width + channel];
    };
    float value = number(down.low, across.low);
    if (down.share != 0.0f || across.share != 0.0f) {
        const float upper = (1.0f - across.share) * value + across.share * number(down.low, across.high);
        const float lower = (1.0f - across.share) * number(down.high, across.low) +
                            across.share * number(down.high, across.high);
        value = (1.0f - down.share) * upper + down.share * lower;
    }
    out[static_cast<size_t>(cell) * pitch + column + channel] = value;
}
CU_EXPORT(resample_maps);
