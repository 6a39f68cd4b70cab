// Half precision in software: the same bits on every machine, with or without instructions for it.
#pragma once

#include <cstdint>
#include <cstring>

struct half_t {
    unsigned short bits;
};

namespace emulator {

inline float float_of_bits(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

inline uint32_t bits_of_float(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

// Exact. Without branches, so that loops over it become vector code.
inline float float_of_half(uint32_t half) {
    const uint32_t rebias = 112u << 23;
    const uint32_t exponent = half & 0x7c00;
    const uint32_t wide = ((half & 0x7fff) << 13) + rebias;
    // Infinities and NaN keep the highest exponent; subnormal numbers lose the leading one that a normal number implies.
    const uint32_t special = wide + rebias;
    const uint32_t tiny = bits_of_float(float_of_bits(wide + (1u << 23)) - float_of_bits(113u << 23));
    const uint32_t magnitude = exponent == 0x7c00 ? special : exponent == 0 ? tiny : wide;
    return float_of_bits(magnitude | (half & 0x8000) << 16);
}

// Rounds to nearest, ties to even; beyond the range is infinite; NaN is 0x7fff, as PTX cvt.rn.f16.f32 has it.
inline uint16_t half_of_float(float value) {
    const uint32_t bits = bits_of_float(value);
    const uint32_t sign = (bits >> 16) & 0x8000;
    const uint32_t magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) return 0x7fff;
    if (magnitude >= 0x47800000) return static_cast<uint16_t>(sign | 0x7c00);  // 65536 and more
    if (magnitude < 0x38800000) {
        // Below 2^-14: adding 0.5 leaves a multiple of 2^-24 in the low bits, rounded by the addition itself.
        const float shifted = float_of_bits(magnitude) + 0.5f;
        return static_cast<uint16_t>(sign | (bits_of_float(shifted) - 0x3f000000));
    }
    const uint32_t odd = (magnitude >> 13) & 1;
    return static_cast<uint16_t>(sign | ((magnitude - (112u << 23) + 0xfff + odd) >> 13));
}

}  // namespace emulator
