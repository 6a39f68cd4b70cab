// Structures that the host fills; their twins in Rust are in backend/cuda, `#[repr(C)]`, field by field the same.
#pragma once

// One tensor of a bank. A table of them lies in device memory: a recorded graph reads it anew at each replay, so that
// another bank takes over between two frames.
struct BankTensor {
    const void* data;  // [layers, rows, width]: unit rows in the type of the kernel's operands, or f32 numbers
    long long rows;    // of a layer
};

static_assert(sizeof(BankTensor) == 16, "the layout of the twin in Rust");
