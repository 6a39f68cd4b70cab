// The kernels of the program by name: each .cu file registers its own with CU_EXPORT.
#pragma once

#include <cstddef>
#include <cstring>
#include <type_traits>
#include <utility>

namespace emulator {

struct Kernel {
    const char* name;
    // Runs the kernel for the current thread, with parameters as cuLaunchKernel takes them.
    void (*call)(void** parameters);
    // Of each parameter its size in bytes, and whether it is an address.
    const size_t* sizes;
    const bool* pointers;
    size_t count;
    // Threads of a block by __launch_bounds__; 0 where the compiler cannot tell.
    unsigned threads;
};

// Adds a kernel; two of one name end the process.
void add_kernel(const Kernel& kernel);
// The kernel of a name, or null.
const Kernel* find_kernel(const char* name);

template <typename Parameter>
Parameter load_parameter(const void* place) {
    Parameter value;
    std::memcpy(&value, place, sizeof value);
    return value;
}

template <auto kFunction>
struct Unpacker;

template <typename... Parameters, void (*kFunction)(Parameters...)>
struct Unpacker<kFunction> {
    static_assert((std::is_trivially_copyable_v<Parameters> && ...), "kernel parameters are plain bytes");
    static constexpr size_t sizes[] = {sizeof(Parameters)..., 0};
    static constexpr bool pointers[] = {std::is_pointer_v<Parameters>..., false};

    template <size_t... kIndex>
    static void apply(void** parameters, std::index_sequence<kIndex...>) {
        kFunction(load_parameter<Parameters>(parameters[kIndex])...);
    }
    static void call(void** parameters) { apply(parameters, std::index_sequence_for<Parameters...>{}); }
    static Kernel kernel(const char* name, unsigned threads) {
        return {name, call, sizes, pointers, sizeof...(Parameters), threads};
    }
};

struct Export {
    explicit Export(const Kernel& kernel) { add_kernel(kernel); }
};

}  // namespace emulator
