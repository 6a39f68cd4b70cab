// The emulator's own tests: kernels that are right, and kernels with one fault each, which some setting must show.
//
//     selftest <case> <lazy|eager> <schedule>
//
// Exit status 0: results are right; 1: they are wrong; a signal: the emulator ended the process.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "guarded.h"
#include "host_twin.h"
#include "settings.h"

namespace {

emulator::Settings chosen;

}  // namespace

emulator::Settings emulator::settings() { return chosen; }

// Bits of `faults`: what is left out or done wrong.
enum Fault : int {
    kWait = 1,           // a cp_wait that leaves one group too many in flight
    kFirstBarrier = 2,   // no barrier between the copies of a tile and its use
    kSecondBarrier = 4,  // no barrier between the use of a tile and the copies that replace it
    kTail = 8,           // no guard of the last elements
    kDivergentBarrier = 16,
    kDivergentShuffle = 32,
    kInFlight = 64,      // copies that nobody waits for
    kUnwritten = 128,    // shared memory read before it is written
    kOverrun = 256,      // shared memory written beyond its end
    kMisaligned = 512,
    kReadBefore = 1024,  // an element before the first one read
    kShift = 2048,       // a shift by all of a number's bits
};

constexpr int kThreads = 128, kTile = 4 * kThreads;  // floats

// y[i] = sum over tiles t of x[t][kTile - 1 - i], tiles copied two deep: every thread reads what another copied.
extern "C" __global__ void __launch_bounds__(128) pipeline(const float* x, int tiles, int len, int faults, float* y) {
    CU_SHARED(memory);
    float* tile = reinterpret_cast<float*>(memory);
    const int t = static_cast<int>(threadIdx.x);
    const auto copy = [&](int number) {
        const int offset = faults & kMisaligned ? 1 : 0;
        cu::cp16(tile + number % 2 * kTile + 4 * t + offset, x + number * kTile + 4 * t, true);
        cu::cp_commit();
    };
    float sum[4] = {};
    copy(0);
    for (int number = 0; number < tiles; number++) {
        if (number + 1 < tiles) {
            copy(number + 1);
            if (faults & kWait) {
                cu::cp_wait<2>();
            } else {
                cu::cp_wait<1>();
            }
        } else {
            cu::cp_wait<0>();
        }
        if (!(faults & kFirstBarrier)) __syncthreads();
        for (int i = 0; i < 4; i++) sum[i] += tile[number % 2 * kTile + kTile - 1 - (4 * t + i)];
        if (!(faults & kSecondBarrier)) __syncthreads();
    }
    for (int i = 0; i < 4; i++) {
        if (4 * t + i < len || (faults & kTail)) y[4 * t + i] = sum[i];
    }
}
CU_EXPORT(pipeline);

// y[t] = sum of x over the warp of t.
extern "C" __global__ void __launch_bounds__(128) warp_sums(const float* x, int faults, float* y) {
    CU_SHARED(memory);
    float* values = reinterpret_cast<float*>(memory);
    const int t = static_cast<int>(threadIdx.x);
    if (faults & kReadBefore) y[t] = x[t - 1];
    if (faults & kShift) y[t] = static_cast<float>(1 << (threadIdx.x / 2));
    if (!(faults & kUnwritten) || t != 77) values[t] = x[t];
    if (faults & kOverrun && t == 100) values[kThreads] = 1;
    if (faults & kInFlight && t == 5) {
        cu::cp16(values, x, false);
        cu::cp_commit();
    }
    if (faults & kDivergentBarrier && t / 32 == 1) {
        __syncthreads();
    } else {
        __syncthreads();
    }
    float sum = values[t];
    for (int mask = 16; mask; mask /= 2) {
        if (faults & kDivergentShuffle && t == 40) break;
        sum += cu::shfl_xor(sum, mask);
    }
    y[t] = sum;
}
CU_EXPORT(warp_sums);

// d [16, 8] += a [16, 16] b [16, 8], all by rows; b is loaded transposed by ldmatrix, and also as it is by hand.
extern "C" __global__ void __launch_bounds__(32) product(const half_t* a, const half_t* b, float* d) {
    CU_SHARED(memory);
    half_t* left = reinterpret_cast<half_t*>(memory);
    half_t* right = left + 16 * 16;
    const int t = static_cast<int>(threadIdx.x);
    for (int i = t; i < 16 * 16; i += 32) left[i] = a[i];
    for (int i = t; i < 16 * 16; i += 32) right[i] = b[i / 16 * 8 + i % 8];
    __syncthreads();
    uint32_t fragment_a[4], fragment_b[4];
    cu::ldmatrix_x4(fragment_a, left + t % 16 * 16 + t / 16 * 8);
    cu::ldmatrix_x4_trans(fragment_b, right + t % 16 * 16 + t / 16 * 8);
    float sums[4];
    for (int i = 0; i < 4; i++) sums[i] = d[(t / 4 + i / 2 * 8) * 8 + t % 4 * 2 + i % 2];
    cu::mma_16816(sums, fragment_a, fragment_b[0], fragment_b[1]);
    for (int i = 0; i < 4; i++) d[(t / 4 + i / 2 * 8) * 8 + t % 4 * 2 + i % 2] = sums[i];
}
CU_EXPORT(product);

namespace {

template <typename T>
struct Array {
    explicit Array(int count) : memory(static_cast<size_t>(count) * sizeof(T)), data(reinterpret_cast<T*>(memory.data())) {}
    bool whole() const {
        ptrdiff_t offset;
        return !memory.written_outside(&offset);
    }
    emulator::Guarded memory;
    T* data;
};

void launch(const char* name, void** parameters, size_t shared) {
    const emulator::Kernel* kernel = emulator::find_kernel(name);
    emulator::run({name, kernel->call, parameters, {1, 1, 1}, {kernel->threads ? kernel->threads : kThreads, 1, 1}, shared});
}

bool pipeline_is_right(int faults) {
    int tiles = 5, len = kTile - 3;
    Array<float> x(tiles * kTile), y(len);
    for (int i = 0; i < tiles * kTile; i++) x.data[i] = static_cast<float>(i % 1009);
    void* parameters[] = {&x.data, &tiles, &len, &faults, &y.data};
    launch("pipeline", parameters, 2 * kTile * sizeof(float));
    for (int i = 0; i < len; i++) {
        float sum = 0;
        for (int tile = 0; tile < tiles; tile++) sum += x.data[tile * kTile + kTile - 1 - i];
        if (!(y.data[i] == sum)) return false;
    }
    return y.whole();
}

bool warp_sums_are_right(int faults) {
    Array<float> x(kThreads), y(kThreads);
    for (int i = 0; i < kThreads; i++) x.data[i] = static_cast<float>(i * i);
    void* parameters[] = {&x.data, &faults, &y.data};
    launch("warp_sums", parameters, kThreads * sizeof(float));
    for (int i = 0; i < kThreads; i++) {
        float sum = 0;
        for (int lane = 0; lane < 32; lane++) sum += x.data[i / 32 * 32 + lane];
        if (!(y.data[i] == sum)) return false;
    }
    return true;
}

bool product_is_right() {
    Array<half_t> a(16 * 16), b(16 * 8);
    Array<float> d(16 * 8);
    // Small integers: every sum is exact, whatever its order.
    for (int i = 0; i < 16 * 16; i++) a.data[i] = cu::to_half(static_cast<float>(i * 7 % 19 - 9));
    for (int i = 0; i < 16 * 8; i++) b.data[i] = cu::to_half(static_cast<float>(i * 5 % 23 - 11));
    for (int i = 0; i < 16 * 8; i++) d.data[i] = static_cast<float>(i);
    void* parameters[] = {&a.data, &b.data, &d.data};
    launch("product", parameters, 2 * 16 * 16 * sizeof(half_t));
    for (int row = 0; row < 16; row++) {
        for (int column = 0; column < 8; column++) {
            int sum = row * 8 + column;
            for (int k = 0; k < 16; k++) sum += ((row * 16 + k) * 7 % 19 - 9) * ((k * 8 + column) * 5 % 23 - 11);
            if (!(d.data[row * 8 + column] == static_cast<float>(sum))) return false;
        }
    }
    return true;
}

// Every half by its definition, and the rounding of what lies between each and the next.
bool halves_are_right() {
    for (unsigned bits = 0; bits <= 0x7c00; bits++) {
        const unsigned exponent = bits >> 10, mantissa = bits & 0x3ff;
        const double exact = exponent == 31 ? HUGE_VAL
                             : exponent     ? std::ldexp(1024.0 + mantissa, static_cast<int>(exponent) - 25)
                                            : std::ldexp(static_cast<double>(mantissa), -24);
        const float value = emulator::float_of_half(bits);
        if (!(value == exact) || !(emulator::float_of_half(bits | 0x8000) == -exact)) return false;
        if (emulator::half_of_float(value) != bits || emulator::half_of_float(-value) != (bits | 0x8000)) return false;
        if (bits == 0x7c00) continue;
        // Past the largest number, 65504, the next step would be 65536.
        const float next = bits == 0x7bff ? 65536.0f : emulator::float_of_half(bits + 1);
        const float middle = (value + next) / 2;
        if (emulator::half_of_float(middle) != (bits % 2 ? bits + 1 : bits)) return false;
        if (emulator::half_of_float(std::nextafter(middle, 0.0f)) != bits) return false;
        if (emulator::half_of_float(std::nextafter(middle, HUGE_VALF)) != bits + 1) return false;
    }
    for (unsigned bits = 0x7c01; bits < 0x8000; bits++) {
        if (!std::isnan(emulator::float_of_half(bits))) return false;
    }
    return emulator::half_of_float(NAN) == 0x7fff && emulator::half_of_float(1e30f) == 0x7c00;
}

}  // namespace

int main(int count, char** arguments) {
    if (count != 4) return 2;
    const std::string name = arguments[1];
    chosen.eager_copies = std::strcmp(arguments[2], "eager") == 0;
    chosen.schedule = static_cast<unsigned>(std::atoi(arguments[3]));
    const struct {
        const char* name;
        int faults;
    } pipelines[] = {{"pipeline", 0},
                     {"wait", kWait},
                     {"first_barrier", kFirstBarrier},
                     {"second_barrier", kSecondBarrier},
                     {"tail", kTail},
                     {"misaligned", kMisaligned}},
      warps[] = {{"warp_sums", 0},
                 {"divergent_barrier", kDivergentBarrier},
                 {"divergent_shuffle", kDivergentShuffle},
                 {"in_flight", kInFlight},
                 {"unwritten", kUnwritten},
                 {"overrun", kOverrun},
                 {"read_before", kReadBefore},
                 {"shift", kShift}};
    for (const auto& entry : pipelines) {
        if (name == entry.name) return !pipeline_is_right(entry.faults);
    }
    for (const auto& entry : warps) {
        if (name == entry.name) return !warp_sums_are_right(entry.faults);
    }
    if (name == "product") return !product_is_right();
    if (name == "halves") return !halves_are_right();
    return 2;
}
