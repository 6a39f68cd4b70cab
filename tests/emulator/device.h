// The device that the libraries show: its memory, its settings, the faults that tests plant.
#pragma once

#include <cstddef>
#include <cstdint>

// What the libraries export; everything else is hidden.
#define EMULATOR_API extern "C" __attribute__((visibility("default")))

namespace emulator {

// Of CUresult, the values that are returned here.
enum Result : int {
    kSuccess = 0,
    kInvalidValue = 1,
    kOutOfMemory = 2,
    kNotInitialized = 3,
    kInvalidDevice = 101,
    kInvalidImage = 200,
    kInvalidContext = 201,
    kInvalidHandle = 400,
    kNotFound = 500,
    kNotReady = 600,
    kCaptureUnsupported = 900,
    kCaptureInvalidated = 901,
    kCaptureUnmatched = 903,
    kCaptureImplicit = 906,
    kCaptureWrongThread = 908,
};

// What a block may have of shared memory without asking, and at most: those of compute capability 8.6 and 8.9.
constexpr size_t kSharedLimit = 48 << 10, kSharedLimitOptIn = 101376;

// Writes a line for people on stderr, which says why a call is refused.
void complain(const char* format, ...) __attribute__((format(printf, 1, 2)));

// The code that a test planted for this call of `function`, or 0. Every exported function asks first.
int planted(const char* function);

// Device memory, or page-locked memory of the host; `address` is the same for both sides.
Result allocate(size_t bytes, bool host, uint64_t* address);
// Ends the process where bytes beyond the memory were written.
Result release(uint64_t address, bool host);
// Whether `bytes` bytes from `address` on lie in one allocation that has not been freed.
bool lies_inside(uint64_t address, size_t bytes);
// The same, with a line on stderr if not.
bool must_lie_inside(const char* function, const char* what, uint64_t address, size_t bytes);
// Whether `address` is in page-locked memory of the host.
bool is_page_locked(const void* address);
void memory_info(size_t* free, size_t* total);

// An allocation, as cuPointerGetAttributes tells of it.
struct Allocated {
    uint64_t begin;
    size_t bytes;
    bool host, managed, foreign;
    int ordinal;
};
// Whether `address` is in an allocation that has not been freed, and what that is.
bool find_allocation(uint64_t address, Allocated* found);

}  // namespace emulator
