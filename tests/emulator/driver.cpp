// libcuda: contexts, memory, copies. Streams and launches are in driver_work.cpp.
//
// Names and meaning are those of the CUDA driver API; only what the project calls is here. A call that CUDA forbids, or that
// touches memory outside an allocation, is refused with a line on stderr.
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "device.h"
#include "entry.h"
#include "streams.h"

using emulator::Result;
using emulator::need_context;

namespace {

char context_object, foreign_context;
thread_local void* current_context = nullptr;

struct Attribute {
    int number, value;
};
// By CUdevice_attribute.
constexpr Attribute kAttributes[] = {
    {1, 1024},  // threads of a block
    {8, static_cast<int>(emulator::kSharedLimit)},
    {10, 32},   // threads of a warp
    {13, 1'500'000},
    {16, 4},    // multiprocessors
    {19, 1},    // maps host memory
    {38, 4 << 20},
    {41, 1},    // one address space
    {75, 8},    // compute capability
    {76, 6},
    {81, 102400},
    {97, static_cast<int>(emulator::kSharedLimitOptIn)},
    {115, 1},   // memory pools
};

struct ErrorName {
    int code;
    const char* name;
};
constexpr ErrorName kErrors[] = {
    {0, "CUDA_SUCCESS"},
    {1, "CUDA_ERROR_INVALID_VALUE"},
    {2, "CUDA_ERROR_OUT_OF_MEMORY"},
    {3, "CUDA_ERROR_NOT_INITIALIZED"},
    {4, "CUDA_ERROR_DEINITIALIZED"},
    {46, "CUDA_ERROR_DEVICE_UNAVAILABLE"},
    {100, "CUDA_ERROR_NO_DEVICE"},
    {101, "CUDA_ERROR_INVALID_DEVICE"},
    {200, "CUDA_ERROR_INVALID_IMAGE"},
    {201, "CUDA_ERROR_INVALID_CONTEXT"},
    {209, "CUDA_ERROR_NO_BINARY_FOR_GPU"},
    {214, "CUDA_ERROR_ECC_UNCORRECTABLE"},
    {218, "CUDA_ERROR_INVALID_PTX"},
    {222, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION"},
    {400, "CUDA_ERROR_INVALID_HANDLE"},
    {500, "CUDA_ERROR_NOT_FOUND"},
    {600, "CUDA_ERROR_NOT_READY"},
    {700, "CUDA_ERROR_ILLEGAL_ADDRESS"},
    {701, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"},
    {702, "CUDA_ERROR_LAUNCH_TIMEOUT"},
    {719, "CUDA_ERROR_LAUNCH_FAILED"},
    {803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"},
    {900, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"},
    {901, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"},
    {903, "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED"},
    {906, "CUDA_ERROR_STREAM_CAPTURE_IMPLICIT"},
    {908, "CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD"},
    {999, "CUDA_ERROR_UNKNOWN"},
};

void* at(uint64_t address) { return reinterpret_cast<void*>(address); }

// Queues the copy of memory of the host: page-locked memory is read when the copy is done, other memory now.
Result copy_in(const char* function, uint64_t to, const void* from, size_t bytes, void* stream) {
    if (!emulator::must_lie_inside(function, "destination", to, bytes)) return emulator::kInvalidValue;
    if (emulator::is_page_locked(from)) {
        if (!emulator::must_lie_inside(function, "source", reinterpret_cast<uint64_t>(from), bytes)) {
            return emulator::kInvalidValue;
        }
        return emulator::enqueue(function, stream, [=] {
            if (!emulator::must_lie_inside(function, "destination, when the copy is done,", to, bytes)) std::abort();
            std::memcpy(at(to), from, bytes);
        });
    }
    const auto queue = emulator::find_stream(stream);
    if (!queue) return emulator::kInvalidHandle;
    TRY(emulator::unless_recorded(function, *queue));
    const auto* begin = static_cast<const unsigned char*>(from);
    auto staged = std::make_shared<std::vector<unsigned char>>(begin, begin + bytes);
    return emulator::enqueue(function, stream, [=] {
        if (!emulator::must_lie_inside(function, "destination, when the copy is done,", to, bytes)) std::abort();
        std::memcpy(at(to), staged->data(), bytes);
    });
}

Result fill(const char* function, uint64_t to, std::string pattern, size_t count, void* stream) {
    const size_t bytes = pattern.size() * count;
    if (!emulator::must_lie_inside(function, "destination", to, bytes)) return emulator::kInvalidValue;
    return emulator::enqueue(function, stream, [=] {
        if (!emulator::must_lie_inside(function, "destination, when it is filled,", to, bytes)) std::abort();
        auto* place = static_cast<unsigned char*>(at(to));
        for (size_t i = 0; i < bytes; i++) place[i] = static_cast<unsigned char>(pattern[i % pattern.size()]);
    });
}

std::string pattern_of(unsigned value) { return std::string(reinterpret_cast<const char*>(&value), sizeof value); }

}  // namespace

Result emulator::need_context(const char* function) {
    if (current_context) return kSuccess;
    complain("%s: no context is current on this thread", function);
    return kInvalidContext;
}

EMULATOR_API int cuInit(unsigned) {
    CALL();
    return emulator::kSuccess;
}

EMULATOR_API int cuDriverGetVersion(int* version) {
    CALL();
    *version = 13000;
    return emulator::kSuccess;
}

EMULATOR_API int cuGetErrorName(int code, const char** name) {
    for (const ErrorName& error : kErrors) {
        if (error.code == code) {
            *name = error.name;
            return emulator::kSuccess;
        }
    }
    *name = nullptr;
    return emulator::kInvalidValue;
}

EMULATOR_API int cuGetErrorString(int code, const char** text) { return cuGetErrorName(code, text); }

EMULATOR_API int cuDeviceGetCount(int* count) {
    CALL();
    *count = 1;
    return emulator::kSuccess;
}

EMULATOR_API int cuDeviceGet(int* device, int ordinal) {
    CALL();
    if (ordinal != 0) return emulator::kInvalidDevice;
    *device = 0;
    return emulator::kSuccess;
}

EMULATOR_API int cuDeviceGetName(char* name, int bytes, int device) {
    CALL();
    if (device != 0) return emulator::kInvalidDevice;
    if (bytes <= 0) return emulator::kInvalidValue;
    std::strncpy(name, "emulated GPU", static_cast<size_t>(bytes));
    name[bytes - 1] = 0;
    return emulator::kSuccess;
}

EMULATOR_API int cuDeviceGetUuid_v2(unsigned char* uuid, int device) {
    CALL();
    if (device != 0) return emulator::kInvalidDevice;
    std::memcpy(uuid, "inctrl emulator", 16);
    return emulator::kSuccess;
}

EMULATOR_API int cuDeviceGetAttribute(int* value, int attribute, int device) {
    CALL();
    if (device != 0) return emulator::kInvalidDevice;
    for (const Attribute& known : kAttributes) {
        if (known.number == attribute) {
            *value = known.value;
            return emulator::kSuccess;
        }
    }
    emulator::complain("cuDeviceGetAttribute: attribute %d is not emulated", attribute);
    return emulator::kInvalidValue;
}

EMULATOR_API int cuDeviceTotalMem_v2(size_t* bytes, int) {
    CALL();
    size_t free;
    emulator::memory_info(&free, bytes);
    return emulator::kSuccess;
}

EMULATOR_API int cuDevicePrimaryCtxRetain(void** context, int device) {
    CALL();
    if (device != 0) return emulator::kInvalidDevice;
    *context = &context_object;
    return emulator::kSuccess;
}

EMULATOR_API int cuDevicePrimaryCtxRelease_v2(int) {
    CALL();
    return emulator::kSuccess;
}

EMULATOR_API int cuDevicePrimaryCtxSetFlags_v2(int, unsigned) {
    CALL();
    return emulator::kSuccess;
}

EMULATOR_API int cuCtxSetCurrent(void* context) {
    CALL();
    if (context && context != &context_object) return emulator::kInvalidContext;
    current_context = context;
    return emulator::kSuccess;
}

EMULATOR_API int cuCtxGetCurrent(void** context) {
    CALL();
    *context = current_context;
    return emulator::kSuccess;
}

EMULATOR_API int cuCtxSetFlags(unsigned) {
    CALL();
    return need_context(__func__);
}

EMULATOR_API int cuCtxSynchronize() {
    CALL();
    TRY(need_context(__func__));
    TRY(emulator::unless_recording(__func__));
    emulator::drain_all();
    return emulator::kSuccess;
}

EMULATOR_API int cuMemGetInfo_v2(size_t* free, size_t* total) {
    CALL();
    TRY(need_context(__func__));
    emulator::memory_info(free, total);
    return emulator::kSuccess;
}

EMULATOR_API int cuMemAlloc_v2(uint64_t* address, size_t bytes) {
    CALL();
    TRY(need_context(__func__));
    TRY(emulator::unless_recording(__func__));
    return emulator::allocate(bytes, false, address);
}

EMULATOR_API int cuMemAllocAsync(uint64_t* address, size_t bytes, void*) {
    CALL();
    TRY(need_context(__func__));
    TRY(emulator::unless_recording(__func__));
    return emulator::allocate(bytes, false, address);
}

EMULATOR_API int cuMemFree_v2(uint64_t address) {
    CALL();
    TRY(need_context(__func__));
    TRY(emulator::unless_recording(__func__));
    emulator::drain_all();
    return emulator::release(address, false);
}

EMULATOR_API int cuMemFreeAsync(uint64_t address, void* stream) {
    CALL();
    TRY(emulator::unless_recording(__func__));
    if (!emulator::must_lie_inside(__func__, "memory", address, 1)) return emulator::kInvalidValue;
    return emulator::enqueue(__func__, stream, [=] {
        if (emulator::release(address, false)) std::abort();
    });
}

EMULATOR_API int cuMemHostAlloc(void** address, size_t bytes, unsigned) {
    CALL();
    TRY(need_context(__func__));
    TRY(emulator::unless_recording(__func__));
    uint64_t place = 0;
    TRY(emulator::allocate(bytes, true, &place));
    *address = at(place);
    return emulator::kSuccess;
}

EMULATOR_API int cuMemFreeHost(void* address) {
    CALL();
    TRY(need_context(__func__));
    TRY(emulator::unless_recording(__func__));
    emulator::drain_all();
    return emulator::release(reinterpret_cast<uint64_t>(address), true);
}

EMULATOR_API int cuMemHostGetDevicePointer_v2(uint64_t* device, void* host, unsigned) {
    CALL();
    if (!emulator::is_page_locked(host)) return emulator::kInvalidValue;
    *device = reinterpret_cast<uint64_t>(host);
    return emulator::kSuccess;
}

// By CUpointer_attribute. Of an address in no allocation every attribute is zero, and the call succeeds.
EMULATOR_API int cuPointerGetAttributes(unsigned count, const int* attributes, void** data, uint64_t address) {
    CALL();
    emulator::Allocated found{};
    const bool known = emulator::find_allocation(address, &found);
    const auto put = [](void* place, auto value) { std::memcpy(place, &value, sizeof value); };
    for (unsigned i = 0; i < count; i++) {
        switch (attributes[i]) {
            case 1: put(data[i], !known ? nullptr : static_cast<void*>(found.foreign ? &foreign_context : &context_object)); break;
            case 2: put(data[i], !known ? 0u : found.host ? 1u : 2u); break;  // by CUmemorytype
            case 3: put(data[i], known ? address : uint64_t{0}); break;
            case 8: put(data[i], known && found.managed ? 1u : 0u); break;
            case 9: put(data[i], known ? found.ordinal : 0); break;
            case 11: put(data[i], found.begin); break;
            case 12: put(data[i], found.bytes); break;
            default:
                emulator::complain("cuPointerGetAttributes: attribute %d is not emulated", attributes[i]);
                return emulator::kInvalidValue;
        }
    }
    return emulator::kSuccess;
}

// Copies and fills without `Async` are work of the null stream, which other streams do not wait for. Only a copy to the host
// is done when the call returns.

EMULATOR_API int cuMemcpyHtoD_v2(uint64_t to, const void* from, size_t bytes) {
    CALL();
    TRY(need_context(__func__));
    TRY(emulator::unless_recording(__func__));
    return copy_in(__func__, to, from, bytes, nullptr);
}

// Of memory that is not page-locked CUDA does not say whether it has been read when the call returns.
EMULATOR_API int cuMemcpyHtoDAsync_v2(uint64_t to, const void* from, size_t bytes, void* stream) {
    CALL();
    TRY(need_context(__func__));
    if (!emulator::is_page_locked(from)) {
        emulator::complain("cuMemcpyHtoDAsync: the source is not page-locked");
        return emulator::kInvalidValue;
    }
    return copy_in(__func__, to, from, bytes, stream);
}

EMULATOR_API int cuMemcpyDtoHAsync_v2(void* to, uint64_t from, size_t bytes, void* stream) {
    CALL();
    TRY(need_context(__func__));
    if (!emulator::must_lie_inside(__func__, "source", from, bytes)) return emulator::kInvalidValue;
    const auto queue = emulator::find_stream(stream);
    if (!queue) return emulator::kInvalidHandle;
    const bool page_locked = emulator::is_page_locked(to);
    if (!page_locked) TRY(emulator::unless_recorded(__func__, *queue));
    const char* function = __func__;
    TRY(emulator::enqueue(__func__, stream, [=] {
        if (!emulator::must_lie_inside(function, "source, when the copy is done,", from, bytes)) std::abort();
        std::memcpy(to, at(from), bytes);
    }));
    if (!page_locked) emulator::drain(*queue, UINT64_MAX);
    return emulator::kSuccess;
}

EMULATOR_API int cuMemcpyDtoH_v2(void* to, uint64_t from, size_t bytes) {
    CALL();
    TRY(need_context(__func__));
    TRY(emulator::unless_recording(__func__));
    if (!emulator::must_lie_inside(__func__, "source", from, bytes)) return emulator::kInvalidValue;
    emulator::drain(*emulator::find_stream(nullptr), UINT64_MAX);
    std::memcpy(to, at(from), bytes);
    return emulator::kSuccess;
}

EMULATOR_API int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void* stream) {
    CALL();
    TRY(need_context(__func__));
    if (!emulator::must_lie_inside(__func__, "destination", to, bytes) ||
        !emulator::must_lie_inside(__func__, "source", from, bytes)) {
        return emulator::kInvalidValue;
    }
    const char* function = __func__;
    return emulator::enqueue(__func__, stream, [=] {
        if (!emulator::must_lie_inside(function, "destination, when the copy is done,", to, bytes) ||
            !emulator::must_lie_inside(function, "source, when the copy is done,", from, bytes)) {
            std::abort();
        }
        std::memmove(at(to), at(from), bytes);
    });
}

EMULATOR_API int cuMemcpyDtoD_v2(uint64_t to, uint64_t from, size_t bytes) {
    CALL();
    TRY(emulator::unless_recording(__func__));
    return cuMemcpyDtoDAsync_v2(to, from, bytes, nullptr);
}

EMULATOR_API int cuMemsetD8_v2(uint64_t to, unsigned char value, size_t count) {
    CALL();
    TRY(need_context(__func__));
    TRY(emulator::unless_recording(__func__));
    return fill(__func__, to, std::string(1, static_cast<char>(value)), count, nullptr);
}

EMULATOR_API int cuMemsetD8Async(uint64_t to, unsigned char value, size_t count, void* stream) {
    CALL();
    TRY(need_context(__func__));
    return fill(__func__, to, std::string(1, static_cast<char>(value)), count, stream);
}

EMULATOR_API int cuMemsetD32_v2(uint64_t to, unsigned value, size_t count) {
    CALL();
    TRY(need_context(__func__));
    TRY(emulator::unless_recording(__func__));
    return fill(__func__, to, pattern_of(value), count, nullptr);
}

EMULATOR_API int cuMemsetD32Async(uint64_t to, unsigned value, size_t count, void* stream) {
    CALL();
    TRY(need_context(__func__));
    return fill(__func__, to, pattern_of(value), count, stream);
}
