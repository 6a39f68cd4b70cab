// Structures that the host fills; their twins in Rust are in backend/cuda, `#[repr(C)]`, field by field the same.
#pragma once

// One class's prompts, in device memory: a recorded graph reads it anew at each replay, so that another bank takes over
// between two frames.
struct BankSlot {
    const void* taps;         // [layers, prompts * patches, width], unit rows, in the type of the kernel's operands
    const float* class_mean;  // [embed]
    const float* text_prototypes;  // [2, embed]: normal, anomaly; unit rows
    int prompts;
    int reserved;
};

// The adapter and the two heads, batch normalisation folded in. Weights are [out, in], row-major f32.
struct HeadWeights {
    const float* adapter0;       // [hidden, embed]
    const float* adapter1;       // [embed, hidden]
    const float* image_w[3];     // [h1, embed], [h2, h1], [1, h2]
    const float* image_b[3];     // [h1], [h2], [1]
    const float* holistic_w[3];  // [h1, cells], [h2, h1], [1, h2]
    const float* holistic_b[3];  // [h1], [h2], [1]
    float alpha;                 // weight of the patch maximum in the score
    int embed;
    int hidden;
    int cells;
    int h1;
    int h2;
};

static_assert(sizeof(BankSlot) == 32 && sizeof(HeadWeights) == 136, "the layout of the twins in Rust");
