// Equations 3 to 7 for each image, one block an image, and the adapter alone for prompts.
//
// inctrl_adapter: out = psi(cls), psi(x) = relu(A1 relu(A0 x)).
//   cls  [rows, embed]  f32, in
//   out  [rows, embed]  f32, out
//   LAUNCH: grid rows, block 256, shared 4 (embed + hidden) bytes.
//
// inctrl_heads:
//   s_i = sigmoid(eta(cls_mean - psi(cls)))
//   s_a = sigmoid(100 (u . anomaly) - 100 (u . normal)),  u = cls / max(||cls||, 1e-12)
//   s_p = max(map)
//   s_h = sigmoid(phi(map + s_i + s_a))
//   score = (s_h + alpha s_p) / (1 + alpha)
//   cls     [images, embed]  f32, in
//   map     [images, cells]  f32, in
//   w       HeadWeights by value; eta is its `image` layers, phi its `holistic` ones, relu between
//   cls_mean         a BankTensor in device memory, in: [embed] f32
//   text_prototypes  a BankTensor in device memory, in: [2, embed] f32, unit rows: normal, anomaly
//   out     [images, 5]      f32, out: score, s_h, s_p, s_i, s_a
//   mirror  as out, may be null: the same in the host's memory
//   LAUNCH: grid images, block 256, shared 4 (2 embed + cells + hidden + h1 + h2 + 32) bytes.
//
// NUMERICS: f32 in one order, whatever the batch: a lane's elements in turn, then lanes as a butterfly, then warps in
// turn. relu and the maximum keep NaN: a feature that overflowed must not become a score. Not in place. Pointers
// 16-byte aligned; any sizes (rows of a multiple of four floats are read 16 bytes at a time where the row of `x` is
// aligned).
// REFERENCE: methods/inctrl/heads/cpu.rs.
#include "abi.cuh"
#include "reduce.cuh"
#include "vec.cuh"

// The adapter and the two heads, batch normalisation folded in. Weights are [out, in], row-major f32. Its twin in Rust is
// in methods/inctrl/heads/cuda.rs, `#[repr(C)]`, field by field the same.
struct HeadWeights {
    const float* adapter0;       // [hidden, embed]
    const float* adapter1;       // [embed, hidden]
    const float* image_w[3];     // [h1, embed], [h2, h1], [1, h2]
    const float* image_b[3];     // [h1], [h2], [1]
    const float* holistic_w[3];  // [h1, cells], [h2, h1], [1, h2]
    const float* holistic_b[3];  // [h1], [h2], [1]
    float alpha;                 // weight of the patch maximum in the score
    int embed;
    int hidden;
    int cells;
    int h1;
    int h2;
};

static_assert(sizeof(HeadWeights) == 136, "the layout of the twin in Rust");

namespace inctrl_heads_impl {

constexpr int THREADS = 256;
constexpr int WARPS = THREADS / reduce::WARP;
// CLIP's logit scale as the published code fixes it in the text prior.
constexpr float LOGIT_SCALE = 100.0f;
constexpr float NORM_EPSILON = 1e-12f;
// Rows of a matrix that a warp reads at once: one block draws all weights of an image through one multiprocessor, and
// only loads in flight hide their latency.
constexpr int ROWS = 4;

enum class Activation { None, Relu };

__device__ __forceinline__ int warp() {
    return static_cast<int>(threadIdx.x) / reduce::WARP;
}

__device__ __forceinline__ int lane() {
    return static_cast<int>(threadIdx.x) % reduce::WARP;
}

// This lane's part of the products of ROWS rows from `row` on; rows past the last repeat it.
__device__ __forceinline__ void products(float (&sums)[ROWS], const float* __restrict__ weight, int row, int rows,
                                         int columns, const float* x) {
    const float* lines[ROWS];
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        lines[r] = weight + static_cast<size_t>(row + r < rows ? row + r : rows - 1) * columns;
        sums[r] = 0.0f;
    }
    if (columns % 4 == 0 && reinterpret_cast<size_t>(x) % 16 == 0) {
#pragma unroll 2
        for (int c = lane() * 4; c < columns; c += reduce::WARP * 4) {
            float v[4];
            vec::load4(x + c, v);
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                float w[4];
                vec::load4(lines[r] + c, w);
#pragma unroll
                for (int k = 0; k < 4; k++) sums[r] = fmaf(w[k], v[k], sums[r]);
            }
        }
    } else {
#pragma unroll 2
        for (int c = lane(); c < columns; c += reduce::WARP) {
#pragma unroll
            for (int r = 0; r < ROWS; r++) sums[r] = fmaf(lines[r][c], x[c], sums[r]);
        }
    }
}

// y = activation(W x + b) by the whole block, which has written x when it comes here and must meet before it reads y.
// b may be null.
__device__ __forceinline__ void dense(const float* __restrict__ weight, const float* __restrict__ bias, int rows,
                                      int columns, const float* x, float* y, Activation activation) {
    __syncthreads();
    for (int row = warp() * ROWS; row < rows; row += WARPS * ROWS) {
        float sums[ROWS];
        products(sums, weight, row, rows, columns, x);
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            float value = reduce::sum(sums[r]);
            if (lane() != 0 || row + r >= rows) continue;
            if (bias != nullptr) value += bias[row + r];
            y[row + r] = activation == Activation::Relu && value < 0.0f ? 0.0f : value;
        }
    }
}

__device__ __forceinline__ float sigmoid(float x) {
    return 1.0f / (1.0f + expf(-x));
}

// sigmoid(W2 relu(W1 relu(W0 x + b0) + b1) + b2)
__device__ __forceinline__ float head(const float* const (&weight)[3], const float* const (&bias)[3],
                                      const HeadWeights& w, int columns, const float* x, float* first, float* second,
                                      float* logit) {
    dense(weight[0], bias[0], w.h1, columns, x, first, Activation::Relu);
    dense(weight[1], bias[1], w.h2, w.h1, first, second, Activation::Relu);
    dense(weight[2], bias[2], 1, w.h2, second, logit, Activation::None);
    __syncthreads();
    return sigmoid(*logit);
}

__device__ __forceinline__ void adapt(const HeadWeights& w, const float* x, float* hidden, float* out) {
    dense(w.adapter0, nullptr, w.hidden, w.embed, x, hidden, Activation::Relu);
    dense(w.adapter1, nullptr, w.embed, w.hidden, hidden, out, Activation::Relu);
}

// Sums over the class embedding and the maximum of the map.
struct Summary {
    float squares;
    float normal;
    float anomaly;
    float s_p;
};

// Every thread gets the summary of the block's parts; `scratch` holds four floats a warp.
__device__ __forceinline__ Summary gather(Summary part, float* scratch) {
    part = {reduce::sum(part.squares), reduce::sum(part.normal), reduce::sum(part.anomaly),
            reduce::max_or_nan(part.s_p)};
    if (lane() == 0) {
        float* own = scratch + warp() * 4;
        own[0] = part.squares;
        own[1] = part.normal;
        own[2] = part.anomaly;
        own[3] = part.s_p;
    }
    __syncthreads();
    Summary all = {0.0f, 0.0f, 0.0f, reduce::minus_infinity()};
    for (int i = 0; i < WARPS; i++) {
        all.squares += scratch[i * 4];
        all.normal += scratch[i * 4 + 1];
        all.anomaly += scratch[i * 4 + 2];
        all.s_p = reduce::larger(all.s_p, scratch[i * 4 + 3]);
    }
    return all;
}

__device__ __forceinline__ void adapt_row(unsigned char* shared, const float* __restrict__ cls, const HeadWeights& w,
                                          float* __restrict__ out) {
    float* x = reinterpret_cast<float*>(shared);
    const size_t row = static_cast<size_t>(blockIdx.x) * w.embed;
    for (int i = threadIdx.x; i < w.embed; i += THREADS) x[i] = cls[row + i];
    adapt(w, x, x + w.embed, out + row);
}

__device__ __forceinline__ void score(unsigned char* shared, const float* __restrict__ cls,
                                      const float* __restrict__ map, const HeadWeights& w,
                                      const BankTensor* __restrict__ cls_mean,
                                      const BankTensor* __restrict__ text_prototypes, float* __restrict__ out,
                                      float* __restrict__ mirror) {
    float* x = reinterpret_cast<float*>(shared);
    float* hidden = x + w.embed;
    float* residual = hidden + w.hidden;
    float* first = residual + w.embed;
    float* second = first + w.h1;
    float* scratch = second + w.h2;
    // Last, as its length is rarely a multiple of four, which keeps the others aligned.
    float* cells = scratch + 4 * WARPS;

    const int thread = static_cast<int>(threadIdx.x);
    cls += static_cast<size_t>(blockIdx.x) * w.embed;
    map += static_cast<size_t>(blockIdx.x) * w.cells;
    const float* mean = static_cast<const float*>(cls_mean->data);
    const float* normal = static_cast<const float*>(text_prototypes->data);
    const float* anomaly = normal + w.embed;
    Summary part = {0.0f, 0.0f, 0.0f, reduce::minus_infinity()};
    for (int i = thread; i < w.embed; i += THREADS) {
        const float value = cls[i];
        x[i] = value;
        part.squares = fmaf(value, value, part.squares);
        part.normal = fmaf(value, normal[i], part.normal);
        part.anomaly = fmaf(value, anomaly[i], part.anomaly);
    }
    for (int i = thread; i < w.cells; i += THREADS) {
        const float value = map[i];
        cells[i] = value;
        part.s_p = reduce::larger(part.s_p, value);
    }
    const Summary all = gather(part, scratch);
    const float scale = LOGIT_SCALE / fmaxf(sqrtf(all.squares), NORM_EPSILON);
    // A softmax over two is the sigmoid of their difference.
    const float s_a = sigmoid(all.anomaly * scale - all.normal * scale);

    adapt(w, x, hidden, residual);
    __syncthreads();
    for (int i = thread; i < w.embed; i += THREADS) residual[i] = mean[i] - residual[i];
    const float s_i = head(w.image_w, w.image_b, w, w.embed, residual, first, second, scratch);
    for (int i = thread; i < w.cells; i += THREADS) cells[i] += s_i + s_a;
    const float s_h = head(w.holistic_w, w.holistic_b, w, w.cells, cells, first, second, scratch + 1);

    if (thread > 0) return;
    const float values[5] = {(s_h + w.alpha * all.s_p) / (1.0f + w.alpha), s_h, all.s_p, s_i, s_a};
    for (int i = 0; i < 5; i++) {
        out[blockIdx.x * 5 + i] = values[i];
        if (mirror != nullptr) mirror[blockIdx.x * 5 + i] = values[i];
    }
}

}  // namespace inctrl_heads_impl

extern "C" __global__ void __launch_bounds__(256, 2)
    inctrl_adapter(const float* __restrict__ cls, HeadWeights w, float* __restrict__ out) {
    CU_SHARED(shared);
    inctrl_heads_impl::adapt_row(shared, cls, w, out);
}
CU_EXPORT(inctrl_adapter);

extern "C" __global__ void __launch_bounds__(256, 2)
    inctrl_heads(const float* __restrict__ cls, const float* __restrict__ map, HeadWeights w,
                 const BankTensor* __restrict__ cls_mean, const BankTensor* __restrict__ text_prototypes,
                 float* __restrict__ out, float* __restrict__ mirror) {
    CU_SHARED(shared);
    inctrl_heads_impl::score(shared, cls, map, w, cls_mean, text_prototypes, out, mirror);
}
CU_EXPORT(inctrl_heads);
