#include "kernels.h"

#include <cstdio>
#include <cstdlib>
#include <vector>

namespace emulator {

namespace {

// Filled while the library is loaded, read afterwards.
std::vector<Kernel>& kernels() {
    static std::vector<Kernel> all;
    return all;
}

}  // namespace

void add_kernel(const Kernel& kernel) {
    if (find_kernel(kernel.name)) {
        std::fprintf(stderr, "emulator: two kernels have the name `%s`\n", kernel.name);
        std::abort();
    }
    kernels().push_back(kernel);
}

const Kernel* find_kernel(const char* name) {
    for (const Kernel& kernel : kernels()) {
        if (std::strcmp(kernel.name, name) == 0) return &kernel;
    }
    return nullptr;
}

}  // namespace emulator
