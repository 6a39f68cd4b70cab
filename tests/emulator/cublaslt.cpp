// libcublasLt: matrix products by columns, as plain loops. Algorithms differ in the order of their sums, as the real ones do,
// so that their results differ in their last bits: who lets the batch size choose one is found out.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "device.h"
#include "half.h"
#include "streams.h"

namespace {

enum Status : int { kSuccess = 0, kNotInitialized = 1, kInvalidValue = 7, kExecutionFailed = 13, kNotSupported = 15 };

// cudaDataType, cublasComputeType_t, cublasLtEpilogue_t, cublasLtReductionScheme_t.
constexpr int kFloat = 0, kHalf = 2;
constexpr int kCompute32F = 68;
constexpr unsigned kEpilogueNone = 1, kEpilogueBias = 4;
constexpr unsigned kNoReduction = 0, kReduceInWorkspace = 2;

struct Handle {};

struct Layout {
    int type;
    int order = 0;  // by columns
    uint64_t rows, columns;
    int64_t stride;

    size_t element() const { return type == kHalf ? 2 : 4; }
    // Bytes from the first element to the last.
    size_t bytes() const {
        if (!rows || !columns) return 0;
        return ((columns - 1) * static_cast<uint64_t>(stride) + rows) * element();
    }
    bool valid() const { return stride >= static_cast<int64_t>(rows) && order == 0; }
};

struct Desc {
    int compute, scale;
    int transpose_a = 0, transpose_b = 0;
    unsigned epilogue = kEpilogueNone;
    uint64_t bias = 0;
    int bias_type = -1;  // that of D
};

struct Preference {
    uint64_t workspace = 0;
    unsigned reductions = 7;
};

// The opaque 64 bytes of cublasLtMatmulAlgo_t.
struct Algorithm {
    uint64_t magic;
    int id, tile, stages;
    unsigned split, reduction, swizzle, custom;
    unsigned reserved[7];
};
static_assert(sizeof(Algorithm) == 64, "cublasLtMatmulAlgo_t");
constexpr uint64_t kMagic = 0x31746c7562756d65;

struct Candidate {  // cublasLtMatmulHeuristicResult_t
    Algorithm algorithm;
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
};

// An algorithm of the emulator: sums of `chunk` products are added up; a tile of more rows than there are is refused.
struct Known {
    int id, tile;
    unsigned chunk;
    uint64_t least_rows;
    size_t workspace;
};
constexpr Known kKnown[] = {
    {6, 15, 16, 0, 0},
    {6, 18, 32, 0, 0},
    {21, 20, 64, 0, 0},
    {21, 24, 128, 128, 0},
    {66, 31, 8, 0, size_t{1} << 20},
};

const Known* find(const Algorithm& algorithm) {
    for (const Known& known : kKnown) {
        if (known.id == algorithm.id && known.tile == algorithm.tile) return &known;
    }
    return nullptr;
}

Algorithm algorithm_of(const Known& known, unsigned split) {
    Algorithm algorithm{};
    algorithm.magic = kMagic;
    algorithm.id = known.id;
    algorithm.tile = known.tile;
    algorithm.stages = 4;
    algorithm.split = split;
    algorithm.reduction = split > 1 ? kReduceInWorkspace : kNoReduction;
    return algorithm;
}

struct Problem {
    Desc desc;
    Layout a, b, c, d;

    uint64_t depth() const { return desc.transpose_a ? a.rows : a.columns; }

    // Why it cannot be solved, or null.
    const char* fault() const {
        const auto typed = [](const Layout& layout) { return layout.type == kFloat || layout.type == kHalf; };
        if (!a.valid() || !b.valid() || !c.valid() || !d.valid()) return "a leading dimension below the rows, or an order";
        if (!typed(a) || !typed(b) || !typed(c) || !typed(d) || a.type != b.type || c.type != d.type) return "its types";
        if (desc.compute != kCompute32F || desc.scale != kFloat) return "its compute type";
        if (desc.epilogue != kEpilogueNone && desc.epilogue != kEpilogueBias) return "its epilogue";
        if (a.type == kFloat && d.type == kHalf) return "halves from floats";
        if (desc.epilogue == kEpilogueBias && desc.bias == 0) return "a bias without an address";
        if (desc.epilogue == kEpilogueBias && desc.bias_type >= 0 && desc.bias_type != d.type) return "its bias' type";
        const uint64_t rows = desc.transpose_a ? a.columns : a.rows;
        const uint64_t columns = desc.transpose_b ? b.rows : b.columns;
        const uint64_t depth_b = desc.transpose_b ? b.columns : b.rows;
        if (depth() != depth_b || d.rows != rows || d.columns != columns || c.rows != rows || c.columns != columns) {
            return "shapes that do not fit";
        }
        return nullptr;
    }

    Status check(const Algorithm& algorithm, size_t* workspace) const {
        if (algorithm.magic != kMagic) return kInvalidValue;
        const Known* known = find(algorithm);
        if (fault() || !known || d.columns < known->least_rows || algorithm.split < 1 || algorithm.split > depth()) {
            return kNotSupported;
        }
        if ((algorithm.split > 1) != (algorithm.reduction != kNoReduction)) return kInvalidValue;
        *workspace = known->workspace + (algorithm.split > 1 ? algorithm.split * d.rows * d.columns * sizeof(float) : 0);
        return kSuccess;
    }
};

float load(const Layout& layout, const unsigned char* data, uint64_t row, uint64_t column) {
    const unsigned char* place = data + (column * static_cast<uint64_t>(layout.stride) + row) * layout.element();
    if (layout.type == kHalf) {
        uint16_t bits;
        std::memcpy(&bits, place, sizeof bits);
        return emulator::float_of_half(bits);
    }
    float value;
    std::memcpy(&value, place, sizeof value);
    return value;
}

void store(const Layout& layout, unsigned char* data, uint64_t row, uint64_t column, float value) {
    unsigned char* place = data + (column * static_cast<uint64_t>(layout.stride) + row) * layout.element();
    if (layout.type == kHalf) {
        const uint16_t bits = emulator::half_of_float(value);
        std::memcpy(place, &bits, sizeof bits);
    } else {
        std::memcpy(place, &value, sizeof value);
    }
}

const unsigned char* at(uint64_t address) { return reinterpret_cast<const unsigned char*>(address); }

struct Product {
    Problem problem;
    Algorithm algorithm;
    float alpha, beta;
    uint64_t a, b, c, d, workspace;
    size_t workspace_bytes;

    Layout bias_layout() const {
        const Problem& p = problem;
        return {p.desc.bias_type < 0 ? p.d.type : p.desc.bias_type, 0, p.d.rows, 1, static_cast<int64_t>(p.d.rows)};
    }

    // Whether all memory is there, with a line on stderr if not.
    bool memory_is_there() const {
        const auto there = [](const char* what, uint64_t address, size_t bytes) {
            return emulator::must_lie_inside("cublasLtMatmul", what, address, bytes);
        };
        return there("A", a, problem.a.bytes()) && there("B", b, problem.b.bytes()) &&
               (beta == 0 || there("C", c, problem.c.bytes())) && there("D", d, problem.d.bytes()) &&
               (problem.desc.epilogue != kEpilogueBias || there("the bias", problem.desc.bias, bias_layout().bytes())) &&
               (!workspace_bytes || there("the workspace", workspace, workspace_bytes));
    }

    void run() const {
        if (!memory_is_there()) std::abort();
        const Desc& desc = problem.desc;
        const uint64_t rows = problem.d.rows, columns = problem.d.columns, depth = problem.depth();
        if (workspace_bytes) std::memset(reinterpret_cast<void*>(workspace), 0xff, workspace_bytes);
        // A by k and then by row, B by column and then by k, both as floats, so that the innermost loop runs over memory.
        std::vector<float> left(depth * rows), right(columns * depth), sum(rows), split_sum(rows), chunk_sum(rows);
        for (uint64_t k = 0; k < depth; k++) {
            for (uint64_t row = 0; row < rows; row++) {
                left[k * rows + row] = desc.transpose_a ? load(problem.a, at(a), k, row) : load(problem.a, at(a), row, k);
            }
        }
        for (uint64_t column = 0; column < columns; column++) {
            for (uint64_t k = 0; k < depth; k++) {
                right[column * depth + k] =
                    desc.transpose_b ? load(problem.b, at(b), column, k) : load(problem.b, at(b), k, column);
            }
        }
        const uint64_t chunk = find(algorithm)->chunk, splits = algorithm.split;
        const uint64_t part = (depth + splits - 1) / splits;
        for (uint64_t column = 0; column < columns; column++) {
            std::fill(sum.begin(), sum.end(), 0.0f);
            for (uint64_t begin = 0; begin < depth; begin += part) {
                const uint64_t end = std::min(depth, begin + part);
                std::fill(split_sum.begin(), split_sum.end(), 0.0f);
                for (uint64_t first = begin; first < end; first += chunk) {
                    std::fill(chunk_sum.begin(), chunk_sum.end(), 0.0f);
                    for (uint64_t k = first; k < std::min(end, first + chunk); k++) {
                        add(chunk_sum.data(), &left[k * rows], right[column * depth + k], rows);
                    }
                    add(split_sum.data(), chunk_sum.data(), 1.0f, rows);
                }
                add(sum.data(), split_sum.data(), 1.0f, rows);
            }
            for (uint64_t row = 0; row < rows; row++) {
                float value = alpha * sum[row];
                if (beta != 0) value += beta * load(problem.c, at(c), row, column);
                if (desc.epilogue == kEpilogueBias) value += load(bias_layout(), at(desc.bias), row, 0);
                store(problem.d, reinterpret_cast<unsigned char*>(d), row, column, value);
            }
        }
    }

    static void add(float* __restrict__ to, const float* __restrict__ from, float factor, uint64_t count) {
        for (uint64_t i = 0; i < count; i++) to[i] += factor * from[i];
    }
};

// Copies an attribute of exactly the size of `field` in or out.
template <typename Field>
Status set(Field* field, const void* from, size_t bytes) {
    if (!from || bytes != sizeof *field) return kInvalidValue;
    std::memcpy(field, from, bytes);
    return kSuccess;
}

template <typename Field>
Status get(const Field& field, void* to, size_t bytes, size_t* written) {
    if (written) *written = sizeof field;
    if (bytes == 0) return kSuccess;
    if (!to || bytes != sizeof field) return kInvalidValue;
    std::memcpy(to, &field, bytes);
    return kSuccess;
}

Status not_emulated(const char* function, int attribute) {
    emulator::complain("%s: attribute %d is not emulated", function, attribute);
    return kInvalidValue;
}

}  // namespace

#define CALL()                                                                      \
    do {                                                                            \
        if (const int code = emulator::planted(__func__)) return code;              \
    } while (false)

EMULATOR_API size_t cublasLtGetVersion() { return 130000; }

EMULATOR_API int cublasLtCreate(Handle** handle) {
    CALL();
    *handle = new Handle;
    return kSuccess;
}

EMULATOR_API int cublasLtDestroy(Handle* handle) {
    delete handle;
    return kSuccess;
}

EMULATOR_API int cublasLtMatmulDescCreate(Desc** desc, int compute, int scale) {
    CALL();
    *desc = new Desc{compute, scale};
    return kSuccess;
}

EMULATOR_API int cublasLtMatmulDescDestroy(Desc* desc) {
    delete desc;
    return kSuccess;
}

// By cublasLtMatmulDescAttributes_t.
EMULATOR_API int cublasLtMatmulDescSetAttribute(Desc* desc, int attribute, const void* from, size_t bytes) {
    CALL();
    switch (attribute) {
        case 0: return set(&desc->compute, from, bytes);
        case 1: return set(&desc->scale, from, bytes);
        case 3: return set(&desc->transpose_a, from, bytes);
        case 4: return set(&desc->transpose_b, from, bytes);
        case 7: return set(&desc->epilogue, from, bytes);
        case 8: return set(&desc->bias, from, bytes);
        case 26: return set(&desc->bias_type, from, bytes);
        default: return not_emulated(__func__, attribute);
    }
}

EMULATOR_API int cublasLtMatrixLayoutCreate(Layout** layout, int type, uint64_t rows, uint64_t columns, int64_t stride) {
    CALL();
    *layout = new Layout{type, 0, rows, columns, stride};
    return kSuccess;
}

EMULATOR_API int cublasLtMatrixLayoutDestroy(Layout* layout) {
    delete layout;
    return kSuccess;
}

// By cublasLtMatrixLayoutAttribute_t.
EMULATOR_API int cublasLtMatrixLayoutSetAttribute(Layout* layout, int attribute, const void* from, size_t bytes) {
    CALL();
    switch (attribute) {
        case 0: return set(&layout->type, from, bytes);
        case 1: return set(&layout->order, from, bytes);
        case 2: return set(&layout->rows, from, bytes);
        case 3: return set(&layout->columns, from, bytes);
        case 4: return set(&layout->stride, from, bytes);
        default: return not_emulated(__func__, attribute);
    }
}

EMULATOR_API int cublasLtMatmulPreferenceCreate(Preference** preference) {
    CALL();
    *preference = new Preference;
    return kSuccess;
}

EMULATOR_API int cublasLtMatmulPreferenceDestroy(Preference* preference) {
    delete preference;
    return kSuccess;
}

// By cublasLtMatmulPreferenceAttributes_t.
EMULATOR_API int cublasLtMatmulPreferenceSetAttribute(Preference* preference, int attribute, const void* from, size_t bytes) {
    CALL();
    unsigned alignment;
    switch (attribute) {
        case 1: return set(&preference->workspace, from, bytes);
        case 3: return set(&preference->reductions, from, bytes);
        case 5:
        case 6:
        case 7:
        case 8: return set(&alignment, from, bytes);
        default: return not_emulated(__func__, attribute);
    }
}

// The order of preference depends on the number of rows of the batch, the columns here.
EMULATOR_API int cublasLtMatmulAlgoGetHeuristic(Handle* handle, const Desc* desc, const Layout* a, const Layout* b,
                                                const Layout* c, const Layout* d, const Preference* preference, int wanted,
                                                Candidate* results, int* found) {
    CALL();
    if (!handle) return kNotInitialized;
    const Problem problem{*desc, *a, *b, *c, *d};
    std::vector<Algorithm> order;
    const int count = static_cast<int>(sizeof kKnown / sizeof *kKnown);
    const uint64_t columns = d->columns;
    const int first = columns < 4 ? 4 : columns < 64 ? 2 : columns < 512 ? 1 : 3;
    if (columns < 256) order.push_back(algorithm_of(kKnown[first], columns < 16 ? 4 : 2));
    for (int i = 0; i < count; i++) order.push_back(algorithm_of(kKnown[(first + i) % count], 1));
    order.push_back(algorithm_of(kKnown[0], 3));
    *found = 0;
    for (const Algorithm& algorithm : order) {
        size_t workspace = 0;
        if (*found == wanted) break;
        if (problem.check(algorithm, &workspace) != kSuccess || workspace > preference->workspace) continue;
        if (algorithm.reduction & ~preference->reductions) continue;
        results[(*found)++] = {algorithm, workspace, kSuccess, 1.0f, {}};
    }
    return *found ? kSuccess : kNotSupported;
}

EMULATOR_API int cublasLtMatmulAlgoCheck(Handle* handle, const Desc* desc, const Layout* a, const Layout* b, const Layout* c,
                                         const Layout* d, const Algorithm* algorithm, Candidate* result) {
    CALL();
    if (!handle) return kNotInitialized;
    size_t workspace = 0;
    const Status status = Problem{*desc, *a, *b, *c, *d}.check(*algorithm, &workspace);
    *result = {*algorithm, workspace, status, 1.0f, {}};
    return status;
}

EMULATOR_API int cublasLtMatmulAlgoGetIds(Handle*, int, int, int, int, int, int, int wanted, int* ids, int* found) {
    CALL();
    *found = 0;
    for (const Known& known : kKnown) {
        if (*found < wanted && std::find(ids, ids + *found, known.id) == ids + *found) ids[(*found)++] = known.id;
    }
    return kSuccess;
}

EMULATOR_API int cublasLtMatmulAlgoInit(Handle*, int, int, int, int, int, int, int id, Algorithm* algorithm) {
    CALL();
    for (const Known& known : kKnown) {
        if (known.id == id) {
            *algorithm = algorithm_of(known, 1);
            return kSuccess;
        }
    }
    return kInvalidValue;
}

// By cublasLtMatmulAlgoConfigAttributes_t.
EMULATOR_API int cublasLtMatmulAlgoConfigGetAttribute(const Algorithm* algorithm, int attribute, void* to, size_t bytes,
                                                      size_t* written) {
    CALL();
    switch (attribute) {
        case 0: return get(algorithm->id, to, bytes, written);
        case 1: return get(algorithm->tile, to, bytes, written);
        case 2: return get(algorithm->split, to, bytes, written);
        case 3: return get(algorithm->reduction, to, bytes, written);
        case 4: return get(algorithm->swizzle, to, bytes, written);
        case 5: return get(algorithm->custom, to, bytes, written);
        case 6: return get(algorithm->stages, to, bytes, written);
        default: return not_emulated(__func__, attribute);
    }
}

EMULATOR_API int cublasLtMatmulAlgoConfigSetAttribute(Algorithm* algorithm, int attribute, const void* from, size_t bytes) {
    CALL();
    switch (attribute) {
        case 0: return set(&algorithm->id, from, bytes);
        case 1: return set(&algorithm->tile, from, bytes);
        case 2: return set(&algorithm->split, from, bytes);
        case 3: return set(&algorithm->reduction, from, bytes);
        case 4: return set(&algorithm->swizzle, from, bytes);
        case 5: return set(&algorithm->custom, from, bytes);
        case 6: return set(&algorithm->stages, from, bytes);
        default: return not_emulated(__func__, attribute);
    }
}

// By cublasLtMatmulAlgoCapAttributes_t: split-K support, reduction schemes.
EMULATOR_API int cublasLtMatmulAlgoCapGetAttribute(const Algorithm* algorithm, int attribute, void* to, size_t bytes,
                                                   size_t* written) {
    CALL();
    if (algorithm->magic != kMagic) return kInvalidValue;
    switch (attribute) {
        case 0: return get(int{1}, to, bytes, written);
        case 1: return get(kReduceInWorkspace, to, bytes, written);
        default: return not_emulated(__func__, attribute);
    }
}

EMULATOR_API int cublasLtMatmul(Handle* handle, const Desc* desc, const float* alpha, uint64_t a, const Layout* layout_a,
                                uint64_t b, const Layout* layout_b, const float* beta, uint64_t c, const Layout* layout_c,
                                uint64_t d, const Layout* layout_d, const Algorithm* algorithm, uint64_t workspace,
                                size_t workspace_bytes, void* stream) {
    CALL();
    if (!handle) return kNotInitialized;
    if (!algorithm || !alpha || !beta) return kInvalidValue;
    const Problem problem{*desc, *layout_a, *layout_b, *layout_c, *layout_d};
    if (const char* fault = problem.fault()) {
        emulator::complain("cublasLtMatmul: not for %s", fault);
        return kInvalidValue;
    }
    size_t needed = 0;
    if (const Status status = problem.check(*algorithm, &needed)) return status;
    if (needed > workspace_bytes) {
        emulator::complain("cublasLtMatmul: the algorithm needs a workspace of %zu bytes, there are %zu", needed, workspace_bytes);
        return kInvalidValue;
    }
    const Product product{problem, *algorithm, *alpha, *beta, a, b, c, d, workspace, needed};
    if (!product.memory_is_there()) return kInvalidValue;
    if (emulator::enqueue(__func__, stream, [product] { product.run(); })) return kExecutionFailed;
    return kSuccess;
}
