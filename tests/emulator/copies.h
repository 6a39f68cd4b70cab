// cp.async: copies of 16 bytes into shared memory that land late or at once.
#pragma once

#include <cstddef>
#include <cstdint>

#include "block.h"

namespace cu {

// Where `valid` is false zeros land; `gmem` must be an address that can be read all the same.
inline void cp16(void* smem, const void* gmem, bool valid, int line = __builtin_LINE(),
                 const char* file = __builtin_FILE()) {
    const emulator::Site site{"cu::cp16", file, line};
    if (reinterpret_cast<uintptr_t>(smem) % 16 || reinterpret_cast<uintptr_t>(gmem) % 16) {
        emulator::fail(&site, "copy from %p to %p: addresses must be multiples of 16", gmem, smem);
    }
    const auto begin = reinterpret_cast<uintptr_t>(emulator::shared_memory());
    const auto place = reinterpret_cast<uintptr_t>(smem);
    if (place < begin || place + 16 > begin + emulator::shared_bytes()) {
        emulator::fail(&site, "copy to byte %td of %zu bytes of shared memory", static_cast<ptrdiff_t>(place - begin),
                       emulator::shared_bytes());
    }
    // Faults here, at the line of the copy, if the address is not one of device memory.
    static_cast<void>(*static_cast<const volatile unsigned char*>(gmem));
    emulator::copy_issue({smem, valid ? gmem : nullptr});
}

inline void cp_commit() { emulator::copy_commit(); }

// Waits until at most kPending of this thread's groups have not landed.
template <int kPending>
inline void cp_wait() {
    static_assert(kPending >= 0, "a number of groups");
    emulator::copy_wait(kPending);
}

}  // namespace cu
