#include "device.h"

#include <cctype>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <string>

#include "guarded.h"
#include "settings.h"

namespace emulator {

namespace {

// Addresses of freed memory are not given out again for so many frees: who still uses them is stopped.
constexpr size_t kQuarantine = 256;
constexpr size_t kMemory = size_t{8} << 30;

struct Allocation {
    Guarded memory;
    bool host;
    // What tests make of it: managed memory, memory of another context or device.
    bool managed = false, foreign = false;
    int ordinal = 0;
};

struct Fault {
    std::string function;
    int after = 0, code = 0;
};

struct Device {
    std::mutex mutex;
    Settings settings;
    Fault fault;
    size_t total = kMemory, used = 0;
    std::map<uint64_t, Allocation> memory;
    std::deque<Guarded> freed;

    // Child processes of a test are told by their environment.
    Device() {
        const auto read = [](const char* name) {
            const char* value = std::getenv(name);
            return std::string(value ? value : "");
        };
        settings.eager_copies = read("INCTRL_EMULATOR_COPIES") == "eager";
        settings.eager_streams = read("INCTRL_EMULATOR_STREAMS") == "eager";
        settings.schedule = static_cast<unsigned>(std::strtoul(read("INCTRL_EMULATOR_SCHEDULE").c_str(), nullptr, 10));
        const std::string bytes = read("INCTRL_EMULATOR_MEMORY");
        if (!bytes.empty()) total = std::strtoull(bytes.c_str(), nullptr, 10);
        // function:after:code
        const std::string text = read("INCTRL_EMULATOR_FAIL");
        char function[64];
        if (std::sscanf(text.c_str(), "%63[^:]:%d:%d", function, &fault.after, &fault.code) == 3) {
            fault.function = function;
        }
    }
};

// Never destroyed: the process may end while other threads are at work.
Device& device() {
    static Device& one = *new Device;
    return one;
}

using Lock = std::lock_guard<std::mutex>;

// The allocation with `address` in it; the caller holds the lock.
const Allocation* holder(uint64_t address, size_t bytes) {
    auto& memory = device().memory;
    auto next = memory.upper_bound(address);
    if (next == memory.begin()) return nullptr;
    const auto& [begin, allocation] = *--next;
    const uint64_t offset = address - begin, size = allocation.memory.bytes();
    return offset <= size && bytes <= size - offset ? &allocation : nullptr;
}

}  // namespace

void complain(const char* format, ...) {
    char message[1024];
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    std::fprintf(stderr, "emulator: %s\n", message);
}

int planted(const char* function) {
    Device& d = device();
    const Lock lock(d.mutex);
    // A lost device: no call of the driver works any more.
    if (d.fault.function == "*") return std::isupper(static_cast<unsigned char>(function[2])) ? d.fault.code : 0;
    if (d.fault.function != function) return 0;
    if (d.fault.after < 0) return d.fault.code;
    if (d.fault.after-- > 0) return 0;
    d.fault.function.clear();
    return d.fault.code;
}

Settings settings() {
    Device& d = device();
    const Lock lock(d.mutex);
    return d.settings;
}

Result allocate(size_t bytes, bool host, uint64_t* address) {
    Device& d = device();
    const Lock lock(d.mutex);
    if (bytes == 0) {
        complain("an allocation of no bytes");
        return kInvalidValue;
    }
    if (!host && (bytes > d.total || d.used > d.total - bytes)) return kOutOfMemory;
    Guarded memory(bytes);
    if (!memory.data()) return kOutOfMemory;
    if (!host) d.used += bytes;
    *address = reinterpret_cast<uint64_t>(memory.data());
    Allocation allocation{std::move(memory), host};
    d.memory.emplace(*address, std::move(allocation));
    return kSuccess;
}

Result release(uint64_t address, bool host) {
    Device& d = device();
    const Lock lock(d.mutex);
    const auto found = d.memory.find(address);
    if (found == d.memory.end() || found->second.host != host) {
        complain("freed %#llx, which is no allocation of %s memory", static_cast<unsigned long long>(address),
                 host ? "page-locked" : "device");
        return kInvalidValue;
    }
    Guarded& memory = found->second.memory;
    ptrdiff_t offset;
    if (memory.written_outside(&offset)) {
        complain("byte %td of an allocation of %zu bytes was written", offset, memory.bytes());
        std::abort();
    }
    if (!host) d.used -= memory.bytes();
    memory.close();
    d.freed.push_back(std::move(memory));
    if (d.freed.size() > kQuarantine) d.freed.pop_front();
    d.memory.erase(found);
    return kSuccess;
}

bool lies_inside(uint64_t address, size_t bytes) {
    const Lock lock(device().mutex);
    return holder(address, bytes) != nullptr;
}

bool must_lie_inside(const char* function, const char* what, uint64_t address, size_t bytes) {
    if (lies_inside(address, bytes)) return true;
    complain("%s: %s, %zu bytes from %#llx on, does not lie in one allocation", function, what, bytes,
             static_cast<unsigned long long>(address));
    return false;
}

bool is_page_locked(const void* address) {
    const Lock lock(device().mutex);
    const Allocation* found = holder(reinterpret_cast<uint64_t>(address), 1);
    return found && found->host;
}

bool find_allocation(uint64_t address, Allocated* found) {
    Device& d = device();
    const Lock lock(d.mutex);
    auto next = d.memory.upper_bound(address);
    if (next == d.memory.begin()) return false;
    const auto& [begin, allocation] = *--next;
    const size_t bytes = allocation.memory.bytes();
    if (address - begin >= bytes) return false;
    *found = {begin, bytes, allocation.host, allocation.managed, allocation.foreign, allocation.ordinal};
    return true;
}

void memory_info(size_t* free, size_t* total) {
    Device& d = device();
    const Lock lock(d.mutex);
    *total = d.total;
    *free = d.total > d.used ? d.total - d.used : 0;
}

}  // namespace emulator

// The interface for tests.

EMULATOR_API void inctrl_emulator_configure(int eager_copies, unsigned schedule, int eager_streams) {
    emulator::Device& d = emulator::device();
    const emulator::Lock lock(d.mutex);
    d.settings = {eager_copies != 0, schedule, eager_streams != 0};
}

// The call number `after`, counted from 0, of a function returns `code`, once; where `after` is negative, all its calls do. `*`
// stands for every call of the driver, for good. An empty name plants nothing.
EMULATOR_API void inctrl_emulator_fail(const char* function, int after, int code) {
    emulator::Device& d = emulator::device();
    const emulator::Lock lock(d.mutex);
    d.fault = {function, after, code};
}

// Says of the allocation at `address` that it is managed, of a context other than the primary one, or of another device.
EMULATOR_API void inctrl_emulator_disguise(uint64_t address, int managed, int foreign, int ordinal) {
    emulator::Device& d = emulator::device();
    const emulator::Lock lock(d.mutex);
    const auto found = d.memory.find(address);
    if (found == d.memory.end()) return;
    found->second.managed = managed != 0;
    found->second.foreign = foreign != 0;
    found->second.ordinal = ordinal;
}

// Size of the device's memory.
EMULATOR_API void inctrl_emulator_memory(size_t bytes) {
    emulator::Device& d = emulator::device();
    const emulator::Lock lock(d.mutex);
    d.total = bytes;
}

EMULATOR_API size_t inctrl_emulator_memory_in_use() {
    emulator::Device& d = emulator::device();
    const emulator::Lock lock(d.mutex);
    return d.used;
}
