#include "collectives.h"

namespace emulator {

void multiply_fragments(Exchange& exchange, int) {
    uint16_t half_a[16][16], half_b[16][8];
    float a[16][16], b[16][8], d[16][8];
    for (int lane = 0; lane < 32; lane++) {
        const int group = lane / 4, pair = lane % 4 * 2;
        const uint32_t* in = exchange.in[lane];
        for (int i = 0; i < 4; i++) std::memcpy(&half_a[group + i % 2 * 8][pair + i / 2 * 8], &in[i], 4);
        for (int i = 0; i < 2; i++) {
            half_b[pair + i * 8][group] = static_cast<uint16_t>(in[4 + i]);
            half_b[pair + i * 8 + 1][group] = static_cast<uint16_t>(in[4 + i] >> 16);
        }
        for (int i = 0; i < 2; i++) std::memcpy(&d[group + i * 8][pair], &in[6 + 2 * i], 8);
    }
    for (int i = 0; i < 16 * 16; i++) a[i / 16][i % 16] = float_of_half(half_a[i / 16][i % 16]);
    for (int i = 0; i < 16 * 8; i++) b[i / 8][i % 8] = float_of_half(half_b[i / 8][i % 8]);
    for (int row = 0; row < 16; row++) {
        for (int k = 0; k < 16; k++) {
            for (int column = 0; column < 8; column++) d[row][column] += a[row][k] * b[k][column];
        }
    }
    for (int lane = 0; lane < 32; lane++) {
        const int group = lane / 4, pair = lane % 4 * 2;
        for (int i = 0; i < 2; i++) std::memcpy(&exchange.out[lane][2 * i], &d[group + i * 8][pair], 8);
    }
}

}  // namespace emulator
