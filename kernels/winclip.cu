// WinCLIP's own operations: how anomalous the texts make an image or a window, and what the windows that cover a patch make
// of it.
//
// winclip_text: out[row, column] = 1 / (1 + exp(-scale x (anomalous - normal) / max(||x||, 1e-12))), and, where `with` is not
// negative, out[row, into] = (out[row, with] + out[row, column]) / 2.
//
//   x       [count, width]  f32, in
//   text    one BankTensor, in: [2, width], f32, unit rows: normal, anomalous
//   out     [count, pitch]  f32, in and out; columns that are not named stay
//   mirror  [count, pitch]  f32, out, may be null: the same in the host's memory
//   LAUNCH: grid ceil(count / 8), block 256 (a warp a row), no shared memory.
//   NUMERICS: f32; the difference of the texts is formed before the sum; a lane's elements in order, lanes as a butterfly.
//
// winclip_map: H_s = n / sum of 1 / value over the n windows of side s that cover the cell and in which no cell is ignored; a
// side without any is left out. map = valid * the arithmetic mean of H_2, H_3 and the patch's own value (`distances` set:
// every value is a quarter of the square of what is given), or their harmonic mean with the image's value.
//
//   windows_2, windows_3  [maps, windows of the side]  f32, in
//   third                 [maps, rows * cols], or [maps, pitch] of which `column` is read  f32, in
//   valid                [maps, rows * cols]          f32, in: 1, or 0 where a cell is ignored
//   map                   [maps, rows * cols]          f32, out
//   mirror                [maps, rows * cols]          f32, out, may be null: the same in the host's memory
//   LAUNCH: grid ceil(maps * rows * cols / 256), block 256, no shared memory. rows and cols at least 3.
//   NUMERICS: f32; windows row by row. A value of 0 makes H_s 0.
//
// REFERENCE: methods/winclip/scores/cpu.rs.
#include "abi.cuh"
#include "reduce.cuh"

namespace winclip {

constexpr int WARPS = 8;

struct Sum {
    float reciprocals;
    float windows;
};

template <int SIDE>
__device__ __forceinline__ bool counts(const float* __restrict__ valid, int cols) {
#pragma unroll
    for (int i = 0; i < SIDE * SIDE; i++) {
        if (!(valid[i / SIDE * cols + i % SIDE] > 0.0f)) return false;
    }
    return true;
}

__device__ __forceinline__ float value_of(float given, int distances) {
    return distances != 0 ? 0.25f * given * given : given;
}

template <int SIDE>
__device__ __forceinline__ Sum covering(const float* __restrict__ windows, const float* __restrict__ valid, int rows,
                                        int cols, int row, int col, int distances) {
    const int across = cols - SIDE + 1;
    Sum sum = {0.0f, 0.0f};
#pragma unroll 1
    for (int top = row - SIDE + 1; top <= row; top++) {
        if (top < 0 || top + SIDE > rows) continue;
#pragma unroll 1
        for (int left = col - SIDE + 1; left <= col; left++) {
            if (left < 0 || left + SIDE > cols) continue;
            if (!counts<SIDE>(valid + top * cols + left, cols)) continue;
            // The same bits as a division, which would call a function and spill registers for it.
            sum.reciprocals += __frcp_rn(value_of(windows[top * across + left], distances));
            sum.windows += 1.0f;
        }
    }
    return sum;
}

}  // namespace winclip

extern "C" __global__ void __launch_bounds__(256)
    winclip_text(const float* __restrict__ x, int count, int width, const BankTensor* __restrict__ text, float scale,
                 int pitch, int column, int with, int into, float* __restrict__ out, float* __restrict__ mirror) {
    const int thread = static_cast<int>(threadIdx.x);
    const int row = static_cast<int>(blockIdx.x) * winclip::WARPS + thread / reduce::WARP;
    if (row >= count) return;
    const int lane = thread % reduce::WARP;
    const float* own = x + static_cast<size_t>(row) * width;
    const float* normal = static_cast<const float*>(text->data);
    const float* anomalous = normal + width;
    float squares = 0.0f, along = 0.0f;
#pragma unroll 1
    for (int at = lane; at < width; at += reduce::WARP) {
        squares = fmaf(own[at], own[at], squares);
        along = fmaf(own[at], anomalous[at] - normal[at], along);
    }
    squares = reduce::sum(squares);
    along = reduce::sum(along);
    if (lane != 0) return;
    const float score = 1.0f / (1.0f + expf(-scale * along / fmaxf(sqrtf(squares), 1e-12f)));
    const size_t first = static_cast<size_t>(row) * pitch;
    out[first + column] = score;
    if (mirror != nullptr) mirror[first + column] = score;
    if (with < 0) return;
    const float mean = 0.5f * (out[first + with] + score);
    out[first + into] = mean;
    if (mirror != nullptr) mirror[first + into] = mean;
}
CU_EXPORT(winclip_text);

extern "C" __global__ void __launch_bounds__(256)
    winclip_map(const float* __restrict__ windows_2, const float* __restrict__ windows_3, const float* __restrict__ third,
                int distances, int pitch, int column, const float* __restrict__ valid, int maps, int rows, int cols,
                float* __restrict__ map, float* __restrict__ mirror) {
    const int cells = rows * cols;
    const int at = static_cast<int>(blockIdx.x * 256 + threadIdx.x);
    if (at >= maps * cells) return;
    const int image = at / cells;
    const int row = at % cells / cols;
    const int col = at % cells % cols;
    const float* counted = valid + static_cast<size_t>(image) * cells;
    const winclip::Sum sides[2] = {
        winclip::covering<2>(windows_2 + static_cast<size_t>(image) * (rows - 1) * (cols - 1), counted, rows, cols, row, col,
                             distances),
        winclip::covering<3>(windows_3 + static_cast<size_t>(image) * (rows - 2) * (cols - 2), counted, rows, cols, row, col,
                             distances),
    };
    float sum = 0.0f, count = 1.0f;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        if (sides[i].windows > 0.0f) {
            sum += distances != 0 ? sides[i].windows / sides[i].reciprocals : sides[i].reciprocals / sides[i].windows;
            count += 1.0f;
        }
    }
    const float value = distances != 0 ? (sum + winclip::value_of(third[at], 1)) / count
                                       : count / (sum + 1.0f / third[static_cast<size_t>(image) * pitch + column]);
    const float cell = valid[at] * value;
    map[at] = cell;
    if (mirror != nullptr) mirror[at] = cell;
}
CU_EXPORT(winclip_map);
