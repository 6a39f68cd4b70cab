// The CUDA language and the cu:: wrappers on the CPU: what kernels/cu.cuh includes where no device compiles it.
//
// Each CUDA thread is a fiber; the threads of a warp meet at shuffles, ldmatrix and mma, those of a block at
// __syncthreads(). Wrong code ends the process with a line that says where: meetings that not all threads reach, copies
// left in flight, addresses outside the memory of the launch. Not modelled: memory order between blocks, bank conflicts,
// the tensor core's own rounding of partial sums.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "block.h"
#include "collectives.h"
#include "copies.h"
#include "half.h"
#include "kernels.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __align__(bytes) __attribute__((aligned(bytes)))

// The bound is kept as the function's alignment, which g++ lets CU_EXPORT ask for: a power of two.
#define EMULATOR_FIRST(first, ...) first
#if defined(__clang__)
#define __launch_bounds__(...)
#define EMULATOR_BOUND(symbol) 0
#else
#define __launch_bounds__(...) __attribute__((aligned(EMULATOR_FIRST(__VA_ARGS__, ))))
#define EMULATOR_BOUND_IS(symbol, bound) (__builtin_has_attribute(symbol, aligned(bound)) ? bound : 0)
#define EMULATOR_BOUND(symbol)                                                                                  \
    (EMULATOR_BOUND_IS(symbol, 32) + EMULATOR_BOUND_IS(symbol, 64) + EMULATOR_BOUND_IS(symbol, 128) +           \
     EMULATOR_BOUND_IS(symbol, 256) + EMULATOR_BOUND_IS(symbol, 512) + EMULATOR_BOUND_IS(symbol, 1024))
#endif

#define threadIdx ::emulator::thread_index()
#define blockIdx ::emulator::block_index()
#define blockDim ::emulator::block_size()
#define gridDim ::emulator::grid_size()
#define __syncthreads() ::emulator::block_barrier({"__syncthreads", __FILE__, __LINE__})
#define __syncwarp() ::emulator::warp_barrier({"__syncwarp", __FILE__, __LINE__})

#define CU_SHARED(name) unsigned char* name = ::emulator::shared_memory()
#define CU_EXPORT(symbol) \
    static const ::emulator::Export emulator_export_##symbol(::emulator::Unpacker<&symbol>::kernel(#symbol, EMULATOR_BOUND(symbol)))

// Vector types and functions that the device compiler has built in.
struct __align__(8) float2 { float x, y; };
struct __align__(16) float4 { float x, y, z, w; };
struct __align__(8) uint2 { unsigned x, y; };
struct __align__(16) uint4 { unsigned x, y, z, w; };
struct __align__(8) int2 { int x, y; };
struct __align__(16) int4 { int x, y, z, w; };
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

inline int min(int a, int b) { return b < a ? b : a; }
inline int max(int a, int b) { return a < b ? b : a; }
inline unsigned min(unsigned a, unsigned b) { return b < a ? b : a; }
inline unsigned max(unsigned a, unsigned b) { return a < b ? b : a; }
inline float __uint_as_float(unsigned bits) { return emulator::float_of_bits(bits); }
inline unsigned __float_as_uint(float value) { return emulator::bits_of_float(value); }
inline float __int_as_float(int bits) { return emulator::float_of_bits(static_cast<unsigned>(bits)); }
inline int __float_as_int(float value) { return static_cast<int>(emulator::bits_of_float(value)); }
inline float rsqrtf(float value) { return 1.0f / std::sqrt(value); }
inline float __frcp_rn(float value) { return 1.0f / value; }
