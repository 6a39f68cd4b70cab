// libcuda: streams, events, modules, launches, graphs.
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "block.h"
#include "device.h"
#include "entry.h"
#include "kernels.h"
#include "streams.h"

using emulator::Event;
using emulator::Graph;
using emulator::Result;
using emulator::need_context;

namespace {

// What cuModuleLoadData takes for an image: what nvrtc.cpp makes, or a fat binary, whose code the host twins stand for.
constexpr char kImage[] = "inctrl emulator image";
constexpr unsigned kFatBinary = 0xba55ed50;

struct Function {
    const emulator::Kernel* kernel;
    size_t shared_limit;
};

struct Module {
    std::vector<std::unique_ptr<Function>> functions;
};

std::atomic<unsigned long long> launches{0};

double now() {
    using namespace std::chrono;
    return duration<double, std::milli>(steady_clock::now().time_since_epoch()).count();
}

// The parameters of a launch, copied as the driver copies them.
class Parameters {
public:
    Parameters(const emulator::Kernel& kernel, void** from) : kernel_(kernel), bytes_(kernel.count), places_(kernel.count) {
        for (size_t i = 0; i < kernel.count; i++) {
            bytes_[i].resize(kernel.sizes[i]);
            std::memcpy(bytes_[i].data(), from[i], kernel.sizes[i]);
            places_[i] = bytes_[i].data();
        }
    }
    Parameters(const Parameters&) = delete;
    Parameters& operator=(const Parameters&) = delete;

    void** places() { return places_.data(); }

    // Every address is null or in memory that has not been freed.
    bool live(const char* when) const {
        for (size_t i = 0; i < kernel_.count; i++) {
            uint64_t address = 0;
            if (!kernel_.pointers[i]) continue;
            std::memcpy(&address, bytes_[i].data(), sizeof address);
            if (address && !emulator::lies_inside(address, 0)) {
                emulator::complain("kernel `%s`, %s: parameter %zu, %#llx, is in no allocation", kernel_.name, when, i,
                                   static_cast<unsigned long long>(address));
                return false;
            }
        }
        return true;
    }

private:
    const emulator::Kernel& kernel_;
    std::vector<std::vector<unsigned char>> bytes_;
    std::vector<void*> places_;
};

// Why a launch is refused, or null.
const char* refusal(const Function& function, const emulator::Index3& grid, const emulator::Index3& block, size_t shared) {
    const size_t threads = static_cast<size_t>(block.x) * block.y * block.z;
    const auto within = [](unsigned value, unsigned limit) { return value >= 1 && value <= limit; };
    if (!within(grid.x, 0x7fffffff) || !within(grid.y, 65535) || !within(grid.z, 65535)) return "grid beyond the limits";
    if (!within(block.x, 1024) || !within(block.y, 1024) || !within(block.z, 64) || threads > 1024) {
        return "block beyond the limits";
    }
    if (function.kernel->threads && threads != function.kernel->threads) return "block differs from the kernel's bound";
    if (shared > function.shared_limit) return "more shared memory than the kernel was allowed";
    return nullptr;
}

}  // namespace

EMULATOR_API int cuStreamCreate(void** stream, unsigned flags) {
    CALL();
    TRY(need_context(__func__));
    if (flags != 1) {
        emulator::complain("cuStreamCreate: only non-blocking streams are emulated");
        return emulator::kInvalidValue;
    }
    *stream = emulator::create_stream();
    return emulator::kSuccess;
}

EMULATOR_API int cuStreamDestroy_v2(void* stream) {
    CALL();
    return emulator::destroy_stream(stream);
}

EMULATOR_API int cuStreamSynchronize(void* stream) {
    CALL();
    TRY(need_context(__func__));
    const auto queue = emulator::find_stream(stream);
    if (!queue) return emulator::kInvalidHandle;
    TRY(stream ? emulator::unless_recorded(__func__, *queue) : emulator::unless_recording(__func__));
    emulator::drain(*queue, UINT64_MAX);
    return emulator::kSuccess;
}

EMULATOR_API int cuStreamWaitEvent(void* stream, Event* event, unsigned) {
    CALL();
    const auto queue = emulator::find_stream(stream);
    if (!queue || !event) return emulator::kInvalidHandle;
    TRY(emulator::unless_recorded(__func__, *queue));
    const auto other = event->stream;
    const uint64_t position = event->position;
    if (!other) return emulator::kSuccess;
    return emulator::enqueue(__func__, stream, [=] { emulator::drain(*other, position); });
}

EMULATOR_API int cuEventCreate(Event** event, unsigned flags) {
    CALL();
    TRY(need_context(__func__));
    *event = new Event;
    (*event)->timed = !(flags & 2);
    return emulator::kSuccess;
}

EMULATOR_API int cuEventDestroy_v2(Event* event) {
    CALL();
    delete event;
    return emulator::kSuccess;
}

EMULATOR_API int cuEventRecord(Event* event, void* stream) {
    CALL();
    const auto queue = emulator::find_stream(stream);
    if (!queue || !event) return emulator::kInvalidHandle;
    TRY(emulator::unless_recorded(__func__, *queue));
    const auto reached = std::make_shared<std::atomic<double>>(-1.0);
    event->milliseconds = reached;
    event->stream = queue;
    TRY(emulator::enqueue(__func__, stream, [=] { *reached = now(); }));
    event->position = queue->queued;
    return emulator::kSuccess;
}

EMULATOR_API int cuEventSynchronize(Event* event) {
    CALL();
    if (!event) return emulator::kInvalidHandle;
    if (event->stream) emulator::drain(*event->stream, event->position);
    return emulator::kSuccess;
}

// Each question that is answered with "not ready" does one work, so that who asks in a loop comes to an end.
EMULATOR_API int cuEventQuery(Event* event) {
    CALL();
    if (!event) return emulator::kInvalidHandle;
    if (!event->stream || event->stream->done >= event->position) return emulator::kSuccess;
    emulator::drain(*event->stream, event->stream->done + 1);
    return emulator::kNotReady;
}

EMULATOR_API int cuEventElapsedTime_v2(float* milliseconds, Event* start, Event* end) {
    CALL();
    if (!start || !end || !start->timed || !end->timed || !start->stream || !end->stream) return emulator::kInvalidHandle;
    const double first = *start->milliseconds, last = *end->milliseconds;
    if (first < 0 || last < 0) return emulator::kNotReady;
    *milliseconds = static_cast<float>(last - first);
    return emulator::kSuccess;
}

EMULATOR_API int cuEventElapsedTime(float* milliseconds, Event* start, Event* end) {
    return cuEventElapsedTime_v2(milliseconds, start, end);
}

EMULATOR_API int cuModuleLoadData(Module** module, const void* image) {
    CALL();
    TRY(need_context(__func__));
    TRY(emulator::unless_recording(__func__));
    unsigned magic;
    std::memcpy(&magic, image, sizeof magic);
    if (magic != kFatBinary && std::strncmp(static_cast<const char*>(image), kImage, sizeof kImage - 1) != 0) {
        emulator::complain("cuModuleLoadData: neither a fat binary nor what the emulated NVRTC makes");
        return emulator::kInvalidImage;
    }
    if (magic == kFatBinary && reinterpret_cast<uintptr_t>(image) % 8 != 0) {
        emulator::complain("cuModuleLoadData: a fat binary at an address that is no multiple of 8");
        return emulator::kInvalidImage;
    }
    *module = new Module;
    return emulator::kSuccess;
}

EMULATOR_API int cuModuleUnload(Module* module) {
    CALL();
    emulator::drain_all();
    delete module;
    return emulator::kSuccess;
}

EMULATOR_API int cuModuleGetFunction(Function** function, Module* module, const char* name) {
    CALL();
    const emulator::Kernel* kernel = emulator::find_kernel(name);
    if (!kernel) return emulator::kNotFound;
    module->functions.push_back(std::make_unique<Function>(Function{kernel, emulator::kSharedLimit}));
    *function = module->functions.back().get();
    return emulator::kSuccess;
}

// By CUfunction_attribute: 0 the most threads of a block, 8 the dynamic shared memory allowed.
EMULATOR_API int cuFuncGetAttribute(int* value, int attribute, const Function* function) {
    CALL();
    switch (attribute) {
        case 0: *value = static_cast<int>(function->kernel->threads ? function->kernel->threads : 1024); break;
        case 8: *value = static_cast<int>(function->shared_limit); break;
        default:
            emulator::complain("cuFuncGetAttribute: attribute %d is not emulated", attribute);
            return emulator::kInvalidValue;
    }
    return emulator::kSuccess;
}

EMULATOR_API int cuFuncSetAttribute(Function* function, int attribute, int value) {
    CALL();
    if (attribute != 8 || value < 0 || static_cast<size_t>(value) > emulator::kSharedLimitOptIn) {
        emulator::complain("cuFuncSetAttribute: attribute %d cannot be %d", attribute, value);
        return emulator::kInvalidValue;
    }
    function->shared_limit = static_cast<size_t>(value);
    return emulator::kSuccess;
}

EMULATOR_API int cuLaunchKernel(Function* function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                                unsigned block_y, unsigned block_z, unsigned shared, void* stream, void** parameters,
                                void** extra) {
    CALL();
    TRY(need_context(__func__));
    if (!function || extra) return emulator::kInvalidValue;
    const emulator::Index3 grid{grid_x, grid_y, grid_z}, block{block_x, block_y, block_z};
    const emulator::Kernel& kernel = *function->kernel;
    if (const char* why = refusal(*function, grid, block, shared)) {
        emulator::complain("kernel `%s`: %s; grid (%u, %u, %u), block (%u, %u, %u), %u bytes of shared memory", kernel.name, why,
                           grid_x, grid_y, grid_z, block_x, block_y, block_z, shared);
        return emulator::kInvalidValue;
    }
    auto copied = std::make_shared<Parameters>(kernel, parameters);
    if (!copied->live("at its launch")) return emulator::kInvalidValue;
    return emulator::enqueue(__func__, stream, [=, &kernel] {
        if (!copied->live("as it runs")) std::abort();
        launches++;
        emulator::run({kernel.name, kernel.call, copied->places(), grid, block, shared});
    });
}

// Kernels that have run, replays of graphs included.
EMULATOR_API unsigned long long inctrl_emulator_launches() { return launches; }

EMULATOR_API int cuStreamBeginCapture_v2(void* stream, int mode) {
    CALL();
    const auto queue = emulator::find_stream(stream);
    if (!queue || mode < 0 || mode > 2) return emulator::kInvalidValue;
    return emulator::begin_capture(*queue, mode == 2);
}

EMULATOR_API int cuStreamIsCapturing(void* stream, int* status) {
    CALL();
    const auto queue = emulator::find_stream(stream);
    if (!queue) return emulator::kInvalidHandle;
    *status = !queue->capture ? 0 : queue->capture_broken ? 2 : 1;
    return emulator::kSuccess;
}

EMULATOR_API int cuStreamEndCapture(void* stream, std::shared_ptr<Graph>** graph) {
    const auto queue = emulator::find_stream(stream);
    if (!queue) return emulator::kInvalidHandle;
    std::shared_ptr<Graph> recorded;
    const Result result = emulator::end_capture(*queue, &recorded);
    *graph = nullptr;
    // A recording ends whatever fails.
    CALL();
    if (result) return result;
    *graph = new std::shared_ptr<Graph>(recorded);
    return emulator::kSuccess;
}

EMULATOR_API int cuGraphInstantiateWithFlags(std::shared_ptr<Graph>** executable, std::shared_ptr<Graph>* graph,
                                             unsigned long long) {
    CALL();
    TRY(emulator::unless_recording(__func__));
    *executable = new std::shared_ptr<Graph>(*graph);
    return emulator::kSuccess;
}

EMULATOR_API int cuGraphUpload(std::shared_ptr<Graph>* executable, void* stream) {
    CALL();
    return executable && emulator::find_stream(stream) ? emulator::kSuccess : emulator::kInvalidHandle;
}

EMULATOR_API int cuGraphLaunch(std::shared_ptr<Graph>* executable, void* stream) {
    CALL();
    TRY(need_context(__func__));
    if (!executable) return emulator::kInvalidHandle;
    const std::shared_ptr<Graph> graph = *executable;
    return emulator::enqueue(__func__, stream, [=] {
        for (const emulator::Work& node : graph->nodes) node();
    });
}

EMULATOR_API int cuGraphDestroy(std::shared_ptr<Graph>* graph) {
    CALL();
    delete graph;
    return emulator::kSuccess;
}

EMULATOR_API int cuGraphExecDestroy(std::shared_ptr<Graph>* executable) {
    CALL();
    delete executable;
    return emulator::kSuccess;
}
