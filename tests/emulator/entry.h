// What every exported function begins with.
#pragma once

#include "device.h"

// Returns a planted fault.
#define CALL()                                                         \
    do {                                                               \
        if (const int code = emulator::planted(__func__)) return code; \
    } while (false)

// Returns the result of `expression` unless it is success.
#define TRY(expression)                                               \
    do {                                                              \
        if (const emulator::Result result = (expression)) return result; \
    } while (false)

namespace emulator {

// Memory, streams and modules are had only where a context is current.
Result need_context(const char* function);

}  // namespace emulator
