// What searches for the nearest of many rows have in common: the tiles of a block, and the best row of a query so far.
//
// A block takes 64 queries of a layer, and of the bank's tiles of 128 rows every `splits`-th; the keys of ordered.cuh meet by
// an atomic maximum, which has no order.
#pragma once
#include "abi.cuh"
#include "ordered.cuh"
#include "reduce.cuh"

namespace search {

constexpr int THREADS = 128;
constexpr int QUERIES = 64;
constexpr int BANK = 128;

// The largest key of a query so far, in the order of the bank: a later equal does not replace it.
struct Best {
    uint32_t value = 0;
    uint32_t index = 0;

    __device__ __forceinline__ void offer(float value_of_row, uint32_t at, bool exists) {
        const uint32_t candidate = ordered::from_float(value_of_row);
        if (exists && candidate > value) {
            value = candidate;
            index = at;
        }
    }

    // The better of this and the lane's across `mask`; of equal values the lower index, as lanes hold columns out of
    // order.
    __device__ __forceinline__ void meet(int mask) {
        const uint32_t other = cu::shfl_xor(value, mask);
        const uint32_t other_index = cu::shfl_xor(index, mask);
        if (other > value || (other == value && other_index < index)) {
            value = other;
            index = other_index;
        }
    }

    __device__ __forceinline__ void publish(unsigned long long* __restrict__ keys, int query, int queries) const {
        if (query < queries && value != 0) cu::atomic_max(keys + query, ordered::key(value, index));
    }
};

// What a block works on.
template <class T>
struct Work {
    const T* queries;  // the block's first
    const T* bank;     // the layer's first
    unsigned long long* keys;
    int query_count;
    int bank_rows;
    int first_tile;
    int tile_step;
    int tiles;  // of this block

    __device__ __forceinline__ Work(const T* __restrict__ all_queries, int query_pitch, int count,
                                    const BankTensor* __restrict__ tensor, int width,
                                    unsigned long long* __restrict__ all_keys, int key_pitch) {
        const int first = static_cast<int>(blockIdx.x) * QUERIES;
        bank_rows = static_cast<int>(tensor->rows);
        queries = all_queries + (static_cast<size_t>(blockIdx.z) * query_pitch + first) * width;
        bank = static_cast<const T*>(tensor->data) + static_cast<size_t>(blockIdx.z) * bank_rows * width;
        keys = all_keys + static_cast<size_t>(blockIdx.z) * key_pitch + first;
        query_count = count - first < QUERIES ? count - first : QUERIES;
        first_tile = static_cast<int>(blockIdx.y);
        tile_step = static_cast<int>(gridDim.y);
        const int all = (bank_rows + BANK - 1) / BANK;
        tiles = first_tile < all ? (all - first_tile + tile_step - 1) / tile_step : 0;
    }
};

}  // namespace search
