// A block of CUDA threads, run on one processor thread: its schedule, its meetings, its shared memory.
#pragma once

#include <cstddef>
#include <cstdint>

namespace emulator {

struct Index3 {
    unsigned x = 1, y = 1, z = 1;
};

// A call in a kernel where threads meet; threads that meet must be at the same one.
struct Site {
    const char* what;
    const char* file;
    int line;
};

// A copy to shared memory that was issued and may not have landed.
struct Copy {
    void* to;
    const void* from;  // null: zeros
};

// What the 32 lanes of a warp bring to a meeting and take from it.
struct Exchange {
    static constexpr int kIn = 10, kOut = 4;
    uint32_t in[32][kIn];
    uint32_t out[32][kOut];
};

struct Thread;

// The CUDA thread that runs now, or null outside kernels. Initial-exec: read at every use of threadIdx.
extern thread_local Thread* current __attribute__((tls_model("initial-exec")));

const Index3& thread_index();
const Index3& block_index();
const Index3& block_size();
const Index3& grid_size();
unsigned char* shared_memory();
size_t shared_bytes();

// Waits for every thread of the block that has not ended.
void block_barrier(const Site& site);

// Brings all 32 lanes of the warp together; the last to arrive calls `combine` with what each brought.
using Combine = void (*)(Exchange&, int parameter);
void warp_meeting(const Site& site, const uint32_t* in, int in_words, uint32_t* out, int out_words, Combine combine,
                  int parameter);

// Asynchronous copies of 16 bytes: issue, close a group, wait until at most `pending` groups are open.
void copy_issue(const Copy& copy);
void copy_commit();
void copy_wait(unsigned pending);

// Ends the process with a line that names kernel, block and thread, and the site if there is one.
[[noreturn]] void fail(const Site* site, const char* format, ...) __attribute__((format(printf, 2, 3)));

// Runs every block of a grid, one after the other. `call` runs the kernel for the current thread.
struct Launch {
    const char* kernel;
    void (*call)(void** parameters);
    void** parameters;
    Index3 grid, block;
    size_t shared;
};
void run(const Launch& launch);

}  // namespace emulator
