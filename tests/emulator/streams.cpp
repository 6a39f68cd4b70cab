#include "streams.h"

#include <map>
#include <utility>

#include "settings.h"

namespace emulator {

namespace {

struct Streams {
    std::mutex mutex;
    std::shared_ptr<Stream> null = std::make_shared<Stream>();
    std::map<void*, std::shared_ptr<Stream>> others;
};

// Never destroyed: the process may end while other threads are at work.
Streams& streams() {
    static Streams& all = *new Streams;
    return all;
}

using Lock = std::lock_guard<std::mutex>;

// Captures of this thread that forbid it to wait, allocate and free.
thread_local std::vector<Stream*> recording;

}  // namespace

std::shared_ptr<Stream> find_stream(void* handle) {
    const Lock lock(streams().mutex);
    if (!handle) return streams().null;
    const auto found = streams().others.find(handle);
    return found == streams().others.end() ? nullptr : found->second;
}

void* create_stream() {
    auto stream = std::make_shared<Stream>();
    void* handle = stream.get();
    const Lock lock(streams().mutex);
    streams().others.emplace(handle, std::move(stream));
    return handle;
}

Result destroy_stream(void* handle) {
    const auto stream = find_stream(handle);
    if (!handle || !stream) return kInvalidHandle;
    drain(*stream, UINT64_MAX);
    const Lock lock(streams().mutex);
    streams().others.erase(handle);
    return kSuccess;
}

Result enqueue(const char* function, void* handle, Work work) {
    const auto stream = find_stream(handle);
    if (!stream) {
        complain("%s: %p is no stream", function, handle);
        return kInvalidHandle;
    }
    {
        const Lock lock(streams().mutex);
        if (stream->capture) {
            if (stream->capture_broken) return kCaptureInvalidated;
            stream->capture->nodes.push_back(std::move(work));
            return kSuccess;
        }
        stream->works.push_back(std::move(work));
        stream->queued++;
    }
    if (settings().eager_streams) drain(*stream, UINT64_MAX);
    return kSuccess;
}

void drain(Stream& stream, uint64_t position) {
    // Asked before the lock: work that waits for earlier work of a stream must not wait for who does that stream's.
    if (stream.done >= position) return;
    const Lock running(stream.running);
    while (stream.done < position) {
        Work work;
        {
            const Lock lock(streams().mutex);
            if (stream.works.empty()) return;
            work = std::move(stream.works.front());
            stream.works.pop_front();
        }
        work();
        stream.done++;
    }
}

void drain_all() {
    std::vector<std::shared_ptr<Stream>> all;
    {
        const Lock lock(streams().mutex);
        all.push_back(streams().null);
        for (const auto& entry : streams().others) all.push_back(entry.second);
    }
    for (const auto& stream : all) {
        uint64_t position;
        {
            const Lock lock(streams().mutex);
            position = stream->queued;
        }
        drain(*stream, position);
    }
}

Result unless_recording(const char* function) {
    if (recording.empty()) return kSuccess;
    const Lock lock(streams().mutex);
    for (Stream* stream : recording) stream->capture_broken = true;
    complain("%s: not while this thread records a stream", function);
    return kCaptureUnsupported;
}

Result unless_recorded(const char* function, Stream& stream) {
    const Lock lock(streams().mutex);
    if (!stream.capture) return kSuccess;
    stream.capture_broken = true;
    complain("%s: not on a stream that records", function);
    return kCaptureUnsupported;
}

Result begin_capture(Stream& stream, bool relaxed) {
    const Lock lock(streams().mutex);
    if (stream.capture || &stream == streams().null.get()) {
        complain("cuStreamBeginCapture: the stream %s", stream.capture ? "records already" : "is the null stream");
        return stream.capture ? kInvalidValue : kCaptureUnsupported;
    }
    stream.capture = std::make_shared<Graph>();
    stream.capture_broken = false;
    stream.capture_relaxed = relaxed;
    stream.capture_thread = std::this_thread::get_id();
    if (!relaxed) recording.push_back(&stream);
    return kSuccess;
}

Result end_capture(Stream& stream, std::shared_ptr<Graph>* graph) {
    const Lock lock(streams().mutex);
    if (!stream.capture) return kCaptureUnmatched;
    if (!stream.capture_relaxed && stream.capture_thread != std::this_thread::get_id()) return kCaptureWrongThread;
    *graph = std::exchange(stream.capture, nullptr);
    for (size_t i = 0; i < recording.size(); i++) {
        if (recording[i] == &stream) recording.erase(recording.begin() + static_cast<ptrdiff_t>(i--));
    }
    return stream.capture_broken ? kCaptureInvalidated : kSuccess;
}

}  // namespace emulator
