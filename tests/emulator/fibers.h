// Stacks that the emulator switches between: one for each CUDA thread of a block.
#pragma once

#include <cstddef>
#include <vector>

namespace emulator {

// A place to switch from and back to. Opaque: a stack pointer or a ucontext, and what AddressSanitizer asks for.
struct Context {
    void* state = nullptr;
    const void* low = nullptr;  // the stack's lowest address
    size_t bytes = 0;
    void* fake_stack = nullptr;
};

// Saves the running context in `from` and goes on with `to`.
void switch_context(Context& from, Context& to);
// Goes on with `to`; `from`, which runs, is over.
[[noreturn]] void end_context(Context& from, Context& to);
// The first call of a context's `entry`.
void begin_context();

// The stacks of a block, kept from block to block. Each has a guard page below it.
class Stacks {
public:
    Stacks() = default;
    Stacks(const Stacks&) = delete;
    Stacks& operator=(const Stacks&) = delete;
    ~Stacks();

    // Makes sure of `count` stacks.
    void reserve(size_t count);
    // A context that begins `entry` on stack `index`; `entry` never returns.
    Context start(size_t index, void (*entry)());

private:
    struct Area {
        unsigned char* base;
        void* context;
    };
    std::vector<Area> areas_;
};

}  // namespace emulator
