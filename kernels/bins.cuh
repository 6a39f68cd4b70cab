// The bins that `of` numbers are averaged to; they overlap where the ratio is not a whole number.
#pragma once
#include "cu.cuh"

namespace bins {

struct Range {
    int first;
    int end;
};

// Bin `bin` of `count`. (bin + 1) of is below 2^31.
__device__ __forceinline__ Range of(int bin, int count, int of) {
    return {bin * of / count, ((bin + 1) * of + count - 1) / count};
}

}  // namespace bins
