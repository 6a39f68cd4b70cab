// Memory whose end and beginning are watched: an unreadable page follows the last byte, known bytes precede the first.
#pragma once

#include <cstddef>

namespace emulator {

class Guarded {
public:
    // At least one byte's worth of pages; `data` is null where the system has no memory. Poisoned: every byte is 0xff, which
    // is NaN as half and as float.
    explicit Guarded(size_t bytes);
    ~Guarded();
    Guarded(Guarded&& other) noexcept;
    Guarded& operator=(Guarded&&) = delete;

    // Starts at a multiple of 16 and ends less than 16 bytes before the unreadable page.
    unsigned char* data() const { return data_; }
    size_t bytes() const { return bytes_; }
    void poison();
    // Makes every byte unreadable; the addresses stay taken.
    void close();
    // Whether a byte before or after was written; `offset` is the first such, counted from `data`.
    bool written_outside(ptrdiff_t* offset) const;

private:
    unsigned char* base_ = nullptr;
    unsigned char* data_ = nullptr;
    size_t bytes_ = 0, pages_ = 0;
};

}  // namespace emulator
