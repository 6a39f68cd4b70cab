// Switching stacks: a few instructions where the compiler's own are known, ucontext elsewhere. AddressSanitizer is told of
// each switch, as it must know which stack an address is on, and of each stack that begins anew, as the frames that were
// on it never returned.
#include "fibers.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "sanitizer.h"

#if !(defined(__x86_64__) || defined(__aarch64__)) || !defined(__ELF__)
#define EMULATOR_UCONTEXT 1
#include <ucontext.h>
#endif

namespace emulator {

namespace {

#if defined(EMULATOR_UCONTEXT) || defined(EMULATOR_ASAN)
constexpr size_t kStack = 256 << 10;
#else
constexpr size_t kStack = 64 << 10;
#endif

size_t page() { return static_cast<size_t>(sysconf(_SC_PAGESIZE)); }

#ifdef EMULATOR_ASAN

// The context that was left last: on arrival its stack becomes known, which for a thread's own is the only way.
thread_local Context* left = nullptr;

void leaving(Context& from, const Context& to, void** fake_stack) {
    left = &from;
    __sanitizer_start_switch_fiber(fake_stack, to.low, to.bytes);
}

void arrived(void* fake_stack) { __sanitizer_finish_switch_fiber(fake_stack, &left->low, &left->bytes); }

#else

void leaving(Context&, const Context&, void**) {}
void arrived(void*) {}

#endif

}  // namespace

#ifdef EMULATOR_UCONTEXT

static void switch_stacks(Context& from, Context& to) {
    ucontext_t here;
    if (!from.state) from.state = &here;
    swapcontext(static_cast<ucontext_t*>(from.state), static_cast<ucontext_t*>(to.state));
    if (from.state == &here) from.state = nullptr;
}

#else

extern "C" void inctrl_emulator_switch(void** from, void* to);

#if defined(__x86_64__)
// The System V convention: rbx, rbp and r12 to r15 belong to the caller. A new stack begins with zeros for them.
asm(R"(
.text
.p2align 4
.hidden inctrl_emulator_switch
.globl inctrl_emulator_switch
.type inctrl_emulator_switch, @function
inctrl_emulator_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size inctrl_emulator_switch, . - inctrl_emulator_switch
)");
#else
// AAPCS64: x19 to x30 and the low halves of v8 to v15 belong to the caller.
asm(R"(
.text
.p2align 4
.hidden inctrl_emulator_switch
.globl inctrl_emulator_switch
.type inctrl_emulator_switch, %function
inctrl_emulator_switch:
    sub sp, sp, #160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
.size inctrl_emulator_switch, . - inctrl_emulator_switch
)");
#endif

static void switch_stacks(Context& from, Context& to) { inctrl_emulator_switch(&from.state, to.state); }

#endif

void switch_context(Context& from, Context& to) {
    leaving(from, to, &from.fake_stack);
    switch_stacks(from, to);
    arrived(from.fake_stack);
}

void end_context(Context& from, Context& to) {
    leaving(from, to, nullptr);
    switch_stacks(from, to);
    std::abort();  // Nothing goes on with what is over.
}

void begin_context() { arrived(nullptr); }

Stacks::~Stacks() {
    for (const Area& area : areas_) {
        munmap(area.base, kStack + page());
#ifdef EMULATOR_UCONTEXT
        delete static_cast<ucontext_t*>(area.context);
#endif
    }
}

void Stacks::reserve(size_t count) {
    while (areas_.size() < count) {
        void* base = mmap(nullptr, kStack + page(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (base == MAP_FAILED || mprotect(base, page(), PROT_NONE) != 0) {
            std::fprintf(stderr, "emulator: no memory for the stack of thread %zu\n", areas_.size());
            std::abort();
        }
        void* context = nullptr;
#ifdef EMULATOR_UCONTEXT
        context = new ucontext_t;
#endif
        areas_.push_back({static_cast<unsigned char*>(base), context});
    }
}

Context Stacks::start(size_t index, void (*entry)()) {
    Area& area = areas_[index];
    unsigned char* low = area.base + page();
    unwatch(low, kStack);
#ifdef EMULATOR_UCONTEXT
    auto* context = static_cast<ucontext_t*>(area.context);
    getcontext(context);
    context->uc_stack.ss_sp = low;
    context->uc_stack.ss_size = kStack;
    context->uc_link = nullptr;
    makecontext(context, entry, 0);
    return {context, low, kStack};
#elif defined(__x86_64__)
    // As if `entry` had been called: its return address, which is null, at an address that is 8 modulo 16.
    auto* top = reinterpret_cast<uintptr_t*>(low + kStack);
    *--top = 0;
    *--top = reinterpret_cast<uintptr_t>(entry);
    for (int i = 0; i < 6; i++) *--top = 0;
    return {top, low, kStack};
#else
    auto* top = reinterpret_cast<uintptr_t*>(low + kStack) - 20;
    for (int i = 0; i < 20; i++) top[i] = 0;
    top[11] = reinterpret_cast<uintptr_t>(entry);  // x30
    return {top, low, kStack};
#endif
}

}  // namespace emulator
