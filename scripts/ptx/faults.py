"""Faults that scripts/ptx-check.sh must detect, each in one place of `kernels/`. Needs only Python.

The faults in `cu.cuh` are in code that only the device runs; the emulator of the tests cannot detect them. The others are planted
in kernels, to check the PTX that nvcc generates from them.
"""

import pathlib

KERNELS = pathlib.Path(__file__).resolve().parent.parent.parent / "kernels"

SHUFFLE = "shfl_xor({0} v, int mask) {{\n    return __shfl_xor_sync(0xffffffffu, v, mask);"
MATRICES = 'm8n8.x4{0}.shared.b16 {{%0, %1, %2, %3}}, [%4];"\n                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])\n                 : "r"(shared_address(row))'


def shuffle(kind, instead):
    text = SHUFFLE.format(kind)
    return text, text.replace("__shfl_xor_sync(0xffffffffu, v, mask)", instead)


def matrices(transposed, before, after):
    text = MATRICES.format(transposed)
    return text, text.replace(before, after)


# File, what is wrong, text that is there once, text instead of it.
FAULTS = [
    # Only the device executes these.
    ("cu.cuh", "wrong lane of a fragment: a[1] for a[2]", '"r"(a[0]), "r"(a[1]), "r"(a[2])', '"r"(a[0]), "r"(a[2]), "r"(a[1])'),
    ("cu.cuh", "wrong lane of a fragment: b0 for b1", '"r"(b0), "r"(b1)', '"r"(b1), "r"(b0)'),
    (
        "cu.cuh",
        "accumulators of the wrong rows",
        '"{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"',
        '"{%0, %2, %1, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %2, %1, %3};"',
    ),
    ("cu.cuh", "a product forgets its first pair", '"r"(a[3]), "r"(b0), "r"(b1)', '"r"(a[3]), "r"(0), "r"(b1)'),
    ("cu.cuh", "tiles swapped as they are loaded", *matrices("", '"=r"(r[1]), "=r"(r[2])', '"=r"(r[2]), "=r"(r[1])')),
    (
        "cu.cuh",
        "tiles swapped as they are loaded, transposed",
        *matrices(".trans", '"=r"(r[1]), "=r"(r[2])', '"=r"(r[2]), "=r"(r[1])'),
    ),
    ("cu.cuh", "transposed where it must not be", *matrices("", "x4.shared", "x4.trans.shared")),
    ("cu.cuh", "not transposed where it must be", *matrices(".trans", "x4.trans.shared", "x4.shared")),
    ("cu.cuh", "tiles loaded one row too low", *matrices("", "shared_address(row))", "shared_address(row) + 144)")),
    ("cu.cuh", "shuffle of half a warp", *shuffle("float", "__shfl_xor_sync(0xffffffffu, v, mask, 16)")),
    ("cu.cuh", "shuffle of two lanes", *shuffle("uint32_t", "__shfl_xor_sync(0xffffffffu, v, mask, 2)")),
    ("cu.cuh", "shuffle down, not across", *shuffle("float", "__shfl_down_sync(0xffffffffu, v, mask)")),
    ("cu.cuh", "shuffle up, not across, of integers", *shuffle("uint32_t", "__shfl_up_sync(0xffffffffu, v, mask)")),
    ("cu.cuh", "half a piece is copied", '"r"(valid ? 16 : 0)', '"r"(valid ? 8 : 0)'),
    ("cu.cuh", "zeros where there are rows, rows where there are none", '"r"(valid ? 16 : 0)', '"r"(valid ? 0 : 16)'),
    ("cu.cuh", "copies of the piece after", '"l"(global), "r"(valid', '"l"(static_cast<const char*>(global) + 16), "r"(valid'),
    (
        "cu.cuh",
        "groups are not closed",
        'asm volatile("cp.async.commit_group;" ::: "memory");',
        'asm volatile("" ::: "memory");',
    ),
    ("cu.cuh", "one group is not waited for", '"cp.async.wait_group %0;" ::"n"(N)', '"cp.async.wait_group %0;" ::"n"(N + 1)'),
    ("cu.cuh", "no group is waited for", '"cp.async.wait_group %0;" ::"n"(N)', '"" ::"n"(N)'),
    ("cu.cuh", "a pair swapped", '"f"(high), "f"(low)', '"f"(low), "f"(high)'),
    ("cu.cuh", "halves cut off instead of rounded", "cvt.rn.f16.f32 %0, %1;", "cvt.rz.f16.f32 %0, %1;"),
    ("cu.cuh", "pairs cut off instead of rounded", "cvt.rn.f16x2.f32 %0, %1, %2;", "cvt.rz.f16x2.f32 %0, %1, %2;"),
    ("cu.cuh", "halves without their sign", '"h"(h.bits)', '"h"(static_cast<unsigned short>(h.bits & 0x7fff))'),
    ("cu.cuh", "a maximum that is not atomic", "atomicMax(p, v);", "if (*p < v) *p = v;"),
    ("cu.cuh", "a maximum of the values alone", "atomicMax(p, v);", "atomicMax(p, v & 0xffffffff00000000ull);"),
    # Kernels: wrong pitches, barriers, groups, bounds, lanes.
    ("attention_tiles.cuh", "wrong pitch of the copies", "tile + row * PITCH + piece", "tile + row * SIZE + piece"),
    (
        "attention_tiles.cuh",
        "one row too many is copied",
        "const bool inside = row < valid;",
        "const bool inside = row <= valid;",
    ),
    (
        "attention_tiles.cuh",
        "lanes address rows of the wrong tile",
        "queries + lane % 16 * PITCH + lane / 16 * 8",
        "queries + lane % 16 * PITCH + lane / 8 % 2 * 8",
    ),
    ("attention_tiles.cuh", "a query too many is stored", "if (query >= queries) continue;", "if (query > queries) continue;"),
    (
        "attention_tiles.cuh",
        "the row's other lanes left out",
        "whole += cu::shfl_xor(whole, 2);",
        "whole += cu::shfl_xor(whole, 4);",
    ),
    (
        "attention.cu",
        "no barrier before the first product",
        "    cu::cp_wait<1>();\n    __syncthreads();",
        "    cu::cp_wait<1>();",
    ),
    (
        "attention.cu",
        "values are not waited for",
        "    cu::cp_wait<0>();\n    __syncthreads();\n    attention_tiles::multiply_values<KEYS>",
        "    cu::cp_wait<1>();\n    __syncthreads();\n    attention_tiles::multiply_values<KEYS>",
    ),
    ("attention.cu", "the other stage for this", "stage ^= 1;", "stage ^= 0;"),
    ("patch_nn.cu", "copies overwrite the stage that is read", "fetch(stage == 0 ? STAGES - 1 : stage - 1);", "fetch(stage);"),
    ("patch_nn.cu", "one stage fewer is waited for", "cu::cp_wait<STAGES - 2>();", "cu::cp_wait<STAGES - 1>();"),
    (
        "patch_nn.cu",
        "no barrier behind the products",
        "            // The next copies overwrite what slower warps still read.\n            __syncthreads();\n",
        "",
    ),
    (
        "patch_nn.cu",
        "a bank row too many",
        "row, row < work.bank_rows);\n                    cosines[m][n][c] = 0.0f;",
        "row, row <= work.bank_rows);\n                    cosines[m][n][c] = 0.0f;",
    ),
    (
        "class_attention.cu",
        "no barrier before the partial outputs are added",
        "    }\n    __syncthreads();\n    if (thread >= SIZE) return;",
        "    }\n    if (thread >= SIZE) return;",
    ),
    (
        "class_attention.cu",
        "threads leave before the last barrier",
        "    }\n    __syncthreads();\n    if (thread >= SIZE) return;",
        "    }\n    if (thread >= SIZE) return;\n    __syncthreads();",
    ),
    (
        "reduce.cuh",
        "a butterfly without its last step",
        "float sum(float v) {\n#pragma unroll\n    for (int mask = WARP / 2; mask > 0;",
        "float sum(float v) {\n#pragma unroll\n    for (int mask = WARP / 2; mask > 1;",
    ),
    (
        "reduce.cuh",
        "shared memory that only this pointer is said to reach",
        "block_sum(T v, T* warps)",
        "block_sum(T v, T* __restrict__ warps)",
    ),
    (
        "inctrl_heads.cu",
        "no barrier between two layers",
        "    __syncthreads();\n    for (int row = warp() * ROWS;",
        "    for (int row = warp() * ROWS;",
    ),
]


def misfits():
    """Faults whose text is not there once, or that change nothing; one sentence each."""
    names = [(file, what) for file, what, _, _ in FAULTS]
    for file, what, before, after in FAULTS:
        path = KERNELS / file
        found = path.read_text(encoding="utf-8").count(before) if path.is_file() else 0
        if found != 1:
            yield f"{file}: {what}: its text is there {found} times, once is expected: {before!r}"
        elif before == after:
            yield f"{file}: {what}: changes nothing"
        if names.count((file, what)) != 1:
            yield f"{file}: {what}: two faults have this name"


def planted(file, before, after):
    """The file with the fault."""
    return (KERNELS / file).read_text(encoding="utf-8").replace(before, after)
