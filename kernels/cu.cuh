// Everything that the kernels ask of the machine beyond plain C++: warps, asynchronous copies, tensor cores, half
// precision, atomics, shared memory. Two twins: inline PTX here, and `host_twin.h`, which runs the same kernels on a
// processor, thread by thread. A kernel reaches these instructions through `cu::` alone, so that both twins see each
// use.
//
// No header of CUDA or of the standard library is included: NVRTC has none at hand. Needs sm_80.
//
//   half_t                         16 bits of IEEE binary16
//   to_float, to_half, pack        conversions, to nearest even; pack(low, high) makes a pair
//   bits_of, float_of              the bits of a float and back
//   shfl_xor(v, mask)              lane ^ mask's v; all 32 lanes call it
//   cp16(shared, global, valid)    asynchronous copy of 16 bytes, zeros where !valid (the address must still exist)
//   cp_commit, cp_wait<N>          closes a group of copies; waits until at most N groups of the thread are open
//   ldmatrix_x4[_trans]            four 8 x 8 tiles of halves; lane l gives the address of row l % 8 of tile l / 8
//   mma_16816                      d[16, 8] += a[16, 16] b[16, 8], f16 operands, f32 accumulators
//   atomic_max                     of 64 bits, on global memory
//   CU_SHARED(name)                the block's dynamic shared memory, `unsigned char*`, 128-byte aligned
//   CU_EXPORT(symbol)              after each kernel: makes it known by name to the host twin
#pragma once

#ifdef __CUDACC__

typedef unsigned char uint8_t;
typedef int int32_t;
typedef unsigned int uint32_t;

#define CU_SHARED(name) extern __shared__ __align__(128) unsigned char name[]
#define CU_EXPORT(symbol) static_assert(true, #symbol)

struct half_t {
    unsigned short bits;
};

namespace cu {

__device__ __forceinline__ float to_float(half_t h) {
    float f;
    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h.bits));
    return f;
}

__device__ __forceinline__ half_t to_half(float f) {
    half_t h;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h.bits) : "f"(f));
    return h;
}

__device__ __forceinline__ uint32_t pack(float low, float high) {
    uint32_t pair;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

__device__ __forceinline__ float shfl_xor(float v, int mask) {
    return __shfl_xor_sync(0xffffffffu, v, mask);
}

__device__ __forceinline__ uint32_t shfl_xor(uint32_t v, int mask) {
    return __shfl_xor_sync(0xffffffffu, v, mask);
}

__device__ __forceinline__ uint32_t shared_address(const void* p) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

__device__ __forceinline__ void cp16(void* shared, const void* global, bool valid) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :
                 : "r"(shared_address(shared)), "l"(global), "r"(valid ? 16 : 0)
                 : "memory");
}

__device__ __forceinline__ void cp_commit() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}

template <int N>
__device__ __forceinline__ void cp_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

__device__ __forceinline__ void ldmatrix_x4(uint32_t (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

__device__ __forceinline__ void ldmatrix_x4_trans(uint32_t (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

__device__ __forceinline__ void mma_16816(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ __forceinline__ void atomic_max(unsigned long long* p, unsigned long long v) {
    atomicMax(p, v);
}

}  // namespace cu

#else
#include "host_twin.h"
#endif

namespace cu {

__device__ __forceinline__ uint32_t bits_of(float f) {
    return __float_as_uint(f);
}

__device__ __forceinline__ float float_of(uint32_t bits) {
    return __uint_as_float(bits);
}

}  // namespace cu
