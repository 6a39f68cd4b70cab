// What AddressSanitizer is told, where it watches; nothing elsewhere.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define EMULATOR_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EMULATOR_ASAN 1
#endif
#endif

#ifdef EMULATOR_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define EMULATOR_UNWATCHED __attribute__((no_sanitize("address")))
#else
#define EMULATOR_UNWATCHED
#endif

namespace emulator {

// Makes every access to the bytes an error, or none.
#ifdef EMULATOR_ASAN
inline void watch(const void* place, size_t bytes) { __asan_poison_memory_region(place, bytes); }
inline void unwatch(const void* place, size_t bytes) { __asan_unpoison_memory_region(place, bytes); }
#else
inline void watch(const void*, size_t) {}
inline void unwatch(const void*, size_t) {}
#endif

}  // namespace emulator
