#include "guarded.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <utility>

#include "sanitizer.h"

namespace emulator {

namespace {

// NaN as half and as float, and not the poison. As a float it is a signalling one, so that adding to it changes it, too.
unsigned char canary(const unsigned char* place) { return reinterpret_cast<uintptr_t>(place) % 2 ? 0xff : 0x95; }

}  // namespace

Guarded::Guarded(size_t bytes) : bytes_(bytes) {
    static const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    pages_ = (bytes + 15) / 16 * 16 / page * page + page;
    void* base = mmap(nullptr, pages_ + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) return;
    base_ = static_cast<unsigned char*>(base);
    if (mprotect(base_ + pages_, page, PROT_NONE) != 0) {
        munmap(base, pages_ + page);
        base_ = nullptr;
        return;
    }
    data_ = base_ + pages_ - (bytes + 15) / 16 * 16;
    for (unsigned char* place = base_; place < data_; place++) *place = canary(place);
    for (unsigned char* place = data_ + bytes; place < base_ + pages_; place++) *place = canary(place);
    poison();
    watch(base_, static_cast<size_t>(data_ - base_));
    watch(data_ + bytes, static_cast<size_t>(base_ + pages_ - data_) - bytes);
}

Guarded::~Guarded() {
    static const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    if (base_) unwatch(base_, pages_);
    if (base_) munmap(base_, pages_ + page);
}

Guarded::Guarded(Guarded&& other) noexcept
    : base_(std::exchange(other.base_, nullptr)),
      data_(std::exchange(other.data_, nullptr)),
      bytes_(other.bytes_),
      pages_(other.pages_) {}

void Guarded::poison() { std::memset(data_, 0xff, bytes_); }

void Guarded::close() {
    madvise(base_, pages_, MADV_DONTNEED);
    mprotect(base_, pages_, PROT_NONE);
}

EMULATOR_UNWATCHED bool Guarded::written_outside(ptrdiff_t* offset) const {
    for (const unsigned char* place = base_; place < base_ + pages_; place++) {
        if (place == data_ && bytes_) place += bytes_;
        if (place < base_ + pages_ && *place != canary(place)) {
            *offset = place - data_;
            return true;
        }
    }
    return false;
}

}  // namespace emulator
