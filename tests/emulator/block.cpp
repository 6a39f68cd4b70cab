// How a block runs. Threads run one at a time, each until it must meet others; who runs next is the schedule's choice.
// Schedule 0 gives every warp its turn at each meeting. Any other lets the warp of highest priority run until all of it
// waits for the block, with priorities and the order of lanes drawn anew at each barrier: warps run far ahead of one
// another there, as they may on a GPU, so that a missing barrier shows in the results.
#include "block.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "fibers.h"
#include "guarded.h"
#include "settings.h"

namespace emulator {

enum class State { ready, running, in_warp, in_block, ended };

struct Thread {
    Index3 index;
    int number = 0;  // in the block
    State state = State::ready;
    Site site{};  // of its last meeting
    Context context;
    std::vector<Copy> copies;           // issued, not landed, oldest first
    std::vector<size_t> groups;         // how many of them each closed group has
    size_t closed = 0;                  // copies that belong to a group
};

namespace {

struct Warp {
    uint32_t ready = 0;  // bit s: the thread at place s of `order` can run
    int lanes = 0, arrived = 0;
    Site site{};
    int order[32];  // lane at each place
    int place[32];  // place of each lane
    Exchange exchange;
};

struct Block {
    Launch launch{};
    Settings settings;
    Index3 index;
    std::vector<Thread> threads;
    std::vector<Warp> warps;
    std::vector<int> priority;  // warps, first to run first
    int waiting = 0, ended = 0;
    Site barrier{};
    std::unique_ptr<Guarded> shared;
    std::mt19937 random;
    Stacks stacks;
    Context main;

    int size() const { return static_cast<int>(threads.size()); }
    void wake(Thread& thread) {
        Warp& warp = warps[thread.number / 32];
        warp.ready |= 1u << warp.place[thread.number % 32];
        thread.state = State::ready;
    }
};

// The block of this processor thread, kept for its stacks.
thread_local std::unique_ptr<Block> owned;
thread_local Block* block __attribute__((tls_model("initial-exec"))) = nullptr;

void print_site(std::string& text, const Site& site) {
    const char* slash = std::strrchr(site.file, '/');
    text += std::string(site.what) + " at " + (slash ? slash + 1 : site.file) + ":" + std::to_string(site.line);
}

// What every thread does, runs of like ones together.
std::string census() {
    std::string text;
    const auto waits = [](const Thread& thread) { return thread.state == State::in_warp || thread.state == State::in_block; };
    const auto same = [&waits](const Thread& a, const Thread& b) {
        return waits(a) ? a.state == b.state && a.site.line == b.site.line
                        : !waits(b) && (a.state == State::ended) == (b.state == State::ended);
    };
    for (int first = 0; first < block->size();) {
        int next = first + 1;
        while (next < block->size() && same(block->threads[first], block->threads[next])) next++;
        const Thread& thread = block->threads[first];
        text += "\n  threads " + std::to_string(first) + " to " + std::to_string(next - 1);
        if (thread.state == State::ended) {
            text += " have ended";
        } else if (waits(thread)) {
            text += " wait in ";
            print_site(text, thread.site);
        } else {
            text += " can run";
        }
        first = next;
    }
    return text;
}

void shuffle_schedule() {
    if (!block->settings.schedule) return;
    std::shuffle(block->priority.begin(), block->priority.end(), block->random);
}

// The thread to run next, or null: takes it from its warp's ready ones.
Thread* next_thread(int warp_now) {
    const int warps = static_cast<int>(block->warps.size());
    for (int i = 0; i < warps; i++) {
        // Lanes of the running warp first: all of them go to the next meeting.
        const int index = block->settings.schedule ? block->priority[i] : (warp_now + i) % warps;
        Warp& warp = block->warps[index];
        if (!warp.ready) continue;
        const int place = __builtin_ctz(warp.ready);
        warp.ready &= warp.ready - 1;
        return &block->threads[index * 32 + warp.order[place]];
    }
    return nullptr;
}

void switch_to(Thread& next) {
    Thread* before = current;
    next.state = State::running;
    if (&next == before) return;
    current = &next;
    if (before->state == State::ended) end_context(before->context, next.context);
    switch_context(before->context, next.context);
}

// The running thread cannot go on: runs others until it can.
void give_way(int warp_from) {
    Thread* next = next_thread(warp_from);
    if (!next && block->waiting && block->waiting + block->ended == block->size()) {
        block->waiting = 0;
        for (Thread& thread : block->threads) {
            if (thread.state == State::in_block) block->wake(thread);
        }
        shuffle_schedule();
        next = next_thread(0);
    }
    if (!next) {
        fail(nullptr, "deadlock: no thread can run:%s", census().c_str());
    }
    switch_to(*next);
}

void thread_main() {
    begin_context();
    block->launch.call(block->launch.parameters);
    Thread& self = *current;
    if (!self.copies.empty()) {
        fail(nullptr, "%zu copies of cu::cp16 were issued and never waited for", self.copies.size());
    }
    self.groups.clear();
    self.state = State::ended;
    block->ended++;
    if (block->ended == block->size()) {
        current = nullptr;
        end_context(self.context, block->main);
    }
    give_way(self.number / 32);
    std::abort();  // An ended thread is never chosen.
}

void run_block(uint64_t number) {
    Block& b = *block;
    const Index3 size = b.launch.block;
    if (b.shared->bytes()) b.shared->poison();
    b.random.seed(static_cast<unsigned>(b.settings.schedule * 2654435761u + number));
    b.waiting = b.ended = 0;
    for (int i = 0; i < static_cast<int>(b.warps.size()); i++) {
        Warp& warp = b.warps[i];
        warp.lanes = std::min(32, b.size() - i * 32);
        warp.arrived = 0;
        for (int lane = 0; lane < 32; lane++) warp.order[lane] = lane;
        if (b.settings.schedule) std::shuffle(warp.order, warp.order + warp.lanes, b.random);
        for (int place = 0; place < 32; place++) warp.place[warp.order[place]] = place;
        warp.ready = warp.lanes == 32 ? ~0u : (1u << warp.lanes) - 1;
        b.priority[i] = i;
    }
    shuffle_schedule();
    for (int i = 0; i < b.size(); i++) {
        Thread& thread = b.threads[i];
        const unsigned n = static_cast<unsigned>(i);
        thread.number = i;
        thread.index = {n % size.x, n / size.x % size.y, n / size.x / size.y};
        thread.state = State::ready;
        thread.site = {};
        thread.context = b.stacks.start(n, thread_main);
    }
    Thread& first = *next_thread(0);
    first.state = State::running;
    current = &first;
    switch_context(b.main, first.context);
    ptrdiff_t offset;
    if (b.shared->written_outside(&offset)) {
        fail(nullptr, "byte %td of %zu bytes of shared memory was written", offset, b.launch.shared);
    }
}

void describe(std::string& text) {
    const Index3 b = block->index;
    text += "kernel `" + std::string(block->launch.kernel) + "`, block (" + std::to_string(b.x) + ", " + std::to_string(b.y) +
            ", " + std::to_string(b.z) + ")";
    if (!current) return;
    const Index3 t = current->index;
    text += ", thread (" + std::to_string(t.x) + ", " + std::to_string(t.y) + ", " + std::to_string(t.z) + ")";
}

struct sigaction handlers_before[2];

// A bad address in a kernel ends the process with a line that says whose it was; others are left to who was here before.
void on_fault(int number, siginfo_t* info, void* context) {
    if (current) {
        // Not safe in a handler by the letter; the process ends here, and only kernel code ran.
        std::string text = "emulator: ";
        describe(text);
        char address[64];
        std::snprintf(address, sizeof address, ": bad address %p", info->si_addr);
        text += address;
        if (current->site.what) {
            text += ", after ";
            print_site(text, current->site);
        }
        text += "\n";
        if (write(2, text.data(), text.size()) < 0) std::abort();
        signal(SIGABRT, SIG_DFL);
        std::abort();
    }
    const struct sigaction& before = handlers_before[number == SIGBUS];
    if (before.sa_flags & SA_SIGINFO) {
        before.sa_sigaction(number, info, context);
    } else if (before.sa_handler == SIG_DFL || before.sa_handler == SIG_IGN) {
        signal(number, SIG_DFL);
    } else {
        before.sa_handler(number);
    }
}

void watch_faults() {
    static const bool done = [] {
        struct sigaction action{};
        action.sa_sigaction = on_fault;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
        return sigaction(SIGSEGV, &action, &handlers_before[0]) == 0 && sigaction(SIGBUS, &action, &handlers_before[1]) == 0;
    }();
    static_cast<void>(done);
}

}  // namespace

thread_local Thread* current __attribute__((tls_model("initial-exec"))) = nullptr;

const Index3& thread_index() { return current->index; }
const Index3& block_index() { return block->index; }
const Index3& block_size() { return block->launch.block; }
const Index3& grid_size() { return block->launch.grid; }
unsigned char* shared_memory() { return block->shared->data(); }
size_t shared_bytes() { return block->launch.shared; }

void fail(const Site* site, const char* format, ...) {
    std::string text = "emulator: ";
    if (block) describe(text);
    if (site) {
        text += ", ";
        print_site(text, *site);
    }
    text += ": ";
    char message[4096];
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    text += message;
    std::fprintf(stderr, "%s\n", text.c_str());
    std::fflush(stderr);
    std::abort();
}

void block_barrier(const Site& site) {
    Thread& self = *current;
    if (block->waiting && (block->barrier.line != site.line || std::strcmp(block->barrier.file, site.file) != 0)) {
        self.site = site;
        fail(&site, "other threads of the block are at another barrier:%s", census().c_str());
    }
    block->barrier = site;
    self.site = site;
    self.state = State::in_block;
    block->waiting++;
    give_way(self.number / 32);
}

void warp_meeting(const Site& site, const uint32_t* in, int in_words, uint32_t* out, int out_words, Combine combine,
                  int parameter) {
    Thread& self = *current;
    const int index = self.number / 32, lane = self.number % 32;
    Warp& warp = block->warps[index];
    if (warp.lanes != 32) fail(&site, "the warp has %d threads; the operation needs all 32", warp.lanes);
    self.site = site;
    if (warp.arrived == 0) {
        warp.site = site;
    } else if (warp.site.line != site.line || std::strcmp(warp.site.what, site.what) != 0 ||
               std::strcmp(warp.site.file, site.file) != 0) {
        fail(&site, "other lanes of the warp are elsewhere:%s", census().c_str());
    }
    for (int i = 0; i < in_words; i++) warp.exchange.in[lane][i] = in[i];
    if (++warp.arrived < 32) {
        self.state = State::in_warp;
        give_way(index);
    } else {
        combine(warp.exchange, parameter);
        warp.arrived = 0;
        for (int i = index * 32; i < index * 32 + 32; i++) block->threads[i].state = State::ready;
        warp.ready = ~0u;
        // The next warp's turn, or this one's again.
        give_way(block->settings.schedule ? index : index + 1);
    }
    for (int i = 0; i < out_words; i++) out[i] = warp.exchange.out[lane][i];
}

namespace {

void land(const Copy& copy) {
    if (copy.from) {
        std::memcpy(copy.to, copy.from, 16);
    } else {
        std::memset(copy.to, 0, 16);
    }
}

}  // namespace

void copy_issue(const Copy& copy) {
    if (block->settings.eager_copies) land(copy);
    current->copies.push_back(copy);
}

void copy_commit() {
    Thread& self = *current;
    self.groups.push_back(self.copies.size() - self.closed);
    self.closed = self.copies.size();
}

void copy_wait(unsigned pending) {
    Thread& self = *current;
    if (self.groups.size() <= pending) return;
    const size_t landing = self.groups.size() - pending;
    size_t copies = 0;
    for (size_t i = 0; i < landing; i++) copies += self.groups[i];
    if (!block->settings.eager_copies) {
        for (size_t i = 0; i < copies; i++) land(self.copies[i]);
    }
    self.copies.erase(self.copies.begin(), self.copies.begin() + static_cast<ptrdiff_t>(copies));
    self.groups.erase(self.groups.begin(), self.groups.begin() + static_cast<ptrdiff_t>(landing));
    self.closed -= copies;
}

void run(const Launch& launch) {
    watch_faults();
    if (!owned) owned = std::make_unique<Block>();
    block = owned.get();
    Block& b = *block;
    const size_t threads = static_cast<size_t>(launch.block.x) * launch.block.y * launch.block.z;
    b.launch = launch;
    b.settings = settings();
    b.threads.resize(threads);
    b.warps.resize((threads + 31) / 32);
    b.priority.resize(b.warps.size());
    b.stacks.reserve(threads);
    if (!b.shared || b.shared->bytes() != launch.shared) b.shared = std::make_unique<Guarded>(launch.shared);
    if (!b.shared->data()) fail(nullptr, "no memory for %zu bytes of shared memory", launch.shared);
    uint64_t number = 0;
    for (unsigned z = 0; z < launch.grid.z; z++) {
        for (unsigned y = 0; y < launch.grid.y; y++) {
            for (unsigned x = 0; x < launch.grid.x; x++) {
                b.index = {x, y, z};
                run_block(number++);
            }
        }
    }
    block = nullptr;
}

}  // namespace emulator
