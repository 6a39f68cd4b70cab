// Operations of a whole warp: shuffles, ldmatrix, mma. And the atomics, which need no meeting.
#pragma once

#include <cstdint>
#include <cstring>

#include "block.h"
#include "half.h"

namespace emulator {

inline void shuffle_xor(Exchange& exchange, int mask) {
    for (int lane = 0; lane < 32; lane++) exchange.out[lane][0] = exchange.in[lane ^ mask][0];
}

inline void nothing(Exchange&, int) {}

inline void warp_barrier(const Site& site) { warp_meeting(site, nullptr, 0, nullptr, 0, nothing, 0); }

inline const unsigned char* matrix_row(const Exchange& exchange, int lane) {
    return reinterpret_cast<const unsigned char*>(static_cast<uintptr_t>(
        static_cast<uint64_t>(exchange.in[lane][0]) | static_cast<uint64_t>(exchange.in[lane][1]) << 32));
}

// Lanes 8m to 8m+7 bring the rows of matrix m, 8 halves each; lane l takes halves 2(l%4) and 2(l%4)+1 of row l/4.
inline void load_matrices(Exchange& exchange, int) {
    for (int matrix = 0; matrix < 4; matrix++) {
        for (int lane = 0; lane < 32; lane++) {
            std::memcpy(&exchange.out[lane][matrix], matrix_row(exchange, matrix * 8 + lane / 4) + lane % 4 * 4, 4);
        }
    }
}

// As above, of the transposed matrices: lane l takes half l/4 of rows 2(l%4) and 2(l%4)+1.
inline void load_matrices_transposed(Exchange& exchange, int) {
    for (int matrix = 0; matrix < 4; matrix++) {
        for (int lane = 0; lane < 32; lane++) {
            uint16_t pair[2];
            for (int i = 0; i < 2; i++) {
                std::memcpy(&pair[i], matrix_row(exchange, matrix * 8 + lane % 4 * 2 + i) + lane / 4 * 2, 2);
            }
            std::memcpy(&exchange.out[lane][matrix], pair, 4);
        }
    }
}

// D += A B with A 16 x 16, B 16 x 8, D 16 x 8; the fragment layouts are PTX's of mma.m16n8k16 for f16. Sums run over k
// upwards in f32, each product being exact in f32.
void multiply_fragments(Exchange& exchange, int);  // collectives.cpp

inline void load_rows(uint32_t (&r)[4], const void* row, const Site& site, Combine combine) {
    const auto address = reinterpret_cast<uintptr_t>(row);
    const auto begin = reinterpret_cast<uintptr_t>(shared_memory());
    if (address % 16) fail(&site, "row at %p: the address must be a multiple of 16", row);
    if (address < begin || address + 16 > begin + shared_bytes()) {
        fail(&site, "row at byte %td of %zu bytes of shared memory", static_cast<ptrdiff_t>(address - begin),
             shared_bytes());
    }
    const uint32_t in[2] = {static_cast<uint32_t>(address), static_cast<uint32_t>(static_cast<uint64_t>(address) >> 32)};
    warp_meeting(site, in, 2, r, 4, combine, 0);
}

}  // namespace emulator

namespace cu {

inline float to_float(half_t value) { return emulator::float_of_half(value.bits); }
inline half_t to_half(float value) { return {emulator::half_of_float(value)}; }
// Two halves in one word, `low` in its low bits.
inline uint32_t pack(float low, float high) {
    return emulator::half_of_float(low) | static_cast<uint32_t>(emulator::half_of_float(high)) << 16;
}

// The value of the lane whose number differs by `mask`; all 32 lanes take part.
inline uint32_t shfl_xor(uint32_t value, int mask, int line = __builtin_LINE(), const char* file = __builtin_FILE()) {
    const emulator::Site site{"cu::shfl_xor", file, line};
    if (mask < 0 || mask > 31) emulator::fail(&site, "mask %d is not below 32", mask);
    uint32_t out;
    emulator::warp_meeting(site, &value, 1, &out, 1, emulator::shuffle_xor, mask);
    return out;
}
inline float shfl_xor(float value, int mask, int line = __builtin_LINE(), const char* file = __builtin_FILE()) {
    return emulator::float_of_bits(shfl_xor(emulator::bits_of_float(value), mask, line, file));
}

// Four 8 x 8 matrices of halves; `row` is the row that this lane names.
inline void ldmatrix_x4(uint32_t (&r)[4], const void* row, int line = __builtin_LINE(),
                        const char* file = __builtin_FILE()) {
    emulator::load_rows(r, row, {"cu::ldmatrix_x4", file, line}, emulator::load_matrices);
}
inline void ldmatrix_x4_trans(uint32_t (&r)[4], const void* row, int line = __builtin_LINE(),
                              const char* file = __builtin_FILE()) {
    emulator::load_rows(r, row, {"cu::ldmatrix_x4_trans", file, line}, emulator::load_matrices_transposed);
}

inline void mma_16816(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, int line = __builtin_LINE(),
                      const char* file = __builtin_FILE()) {
    uint32_t in[10] = {a[0], a[1], a[2], a[3], b0, b1, 0, 0, 0, 0};
    std::memcpy(in + 6, d, 16);
    uint32_t out[4];
    emulator::warp_meeting({"cu::mma_16816", file, line}, in, 10, out, 4, emulator::multiply_fragments, 0);
    std::memcpy(d, out, 16);
}

inline void atomic_max(unsigned long long* place, unsigned long long value) {
    unsigned long long held = __atomic_load_n(place, __ATOMIC_RELAXED);
    while (held < value && !__atomic_compare_exchange_n(place, &held, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
}

}  // namespace cu
