// Streams, events and graphs: work that is queued and done in order, recorded, replayed.
//
// Lazy streams do nothing until somebody waits for them, which is as late as CUDA allows: what a missing synchronisation
// would leave undone is always undone.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "device.h"

namespace emulator {

// Runs later, on the thread that waits.
using Work = std::function<void()>;

struct Graph {
    std::vector<Work> nodes;
};

struct Stream {
    uint64_t queued = 0;            // works so far; under the lock of all streams
    std::deque<Work> works;         // under the lock of all streams
    std::atomic<uint64_t> done{0};
    std::mutex running;             // held by the thread that does the works
    std::shared_ptr<Graph> capture; // being recorded
    bool capture_broken = false;
    bool capture_relaxed = false;
    std::thread::id capture_thread{};
};

struct Event {
    bool timed = true;
    std::shared_ptr<Stream> stream;  // of the last record
    uint64_t position = 0;           // works of the stream up to the mark
    // When the mark was reached; negative until then.
    std::shared_ptr<std::atomic<double>> milliseconds = std::make_shared<std::atomic<double>>(-1.0);
};

// The stream of a handle; null stands for the stream of that name. Null where there is none such.
std::shared_ptr<Stream> find_stream(void* handle);
void* create_stream();
Result destroy_stream(void* handle);

// Queues work, or records it. Null works are not queued: only the stream's state is checked.
Result enqueue(const char* function, void* stream, Work work);
// Does all work of a stream, or the first `position` works.
void drain(Stream& stream, uint64_t position);
void drain_all();
// Whether a call that waits, allocates or frees may be made now on this thread, which it may not while recording.
Result unless_recording(const char* function);
// Whether the stream is one to wait for: not while it records.
Result unless_recorded(const char* function, Stream& stream);

Result begin_capture(Stream& stream, bool relaxed);
Result end_capture(Stream& stream, std::shared_ptr<Graph>* graph);

}  // namespace emulator
