"""Compares each instruction with a separate formula: python3 -m unittest ptx.selftest ptx.refusals

A formula is written over Python's numbers, one lane at a time, after NVIDIA's manual of the instruction set; it shares
nothing with the interpreter. `refusals.py` tests memory, and that some program uses every known instruction.
"""

import math
import struct
import unittest
from fractions import Fraction

import numpy as np

from . import machine
from .launch import SCHEDULES
from .memory import Device
from .parser import parse

THREADS = 64
# Every instruction of a program here.
SEEN = set()
SPECIAL = {
    "f32": [0.0, -0.0, 1.0, -1.5, math.inf, -math.inf, math.nan, 1e-42, -3e38, 0.5, 126.5, -149.0],
    "f16": [0.0, -0.0, 1.0, 65504.0, math.inf, math.nan, 6e-8, -0.333],
}
REGISTERS = {"pred": "%p", "b16": "%rs", "b32": "%r", "b64": "%rd", "f32": "%f"}


def register_of(kind):
    """The type of the register that holds a value of this type."""
    return "f32" if kind == "f32" else "pred" if kind == "pred" else "b16" if kind[1:] in ("8", "16") else "b" + kind[1:]


def bits(kind, value):
    """A value as an integer of 64 bits."""
    if kind == "f32":
        return struct.unpack("<I", struct.pack("<f", value))[0]
    if kind == "f16":
        return struct.unpack("<H", struct.pack("<e", value))[0]
    return int(value) & (1 << (1 if kind == "pred" else int(kind[1:]))) - 1


def value(kind, word):
    word = int(word)
    if kind == "f32":
        return struct.unpack("<f", struct.pack("<I", word & 0xFFFFFFFF))[0]
    if kind == "f16":
        return struct.unpack("<e", struct.pack("<H", word & 0xFFFF))[0]
    if kind == "pred":
        return bool(word & 1)
    size = int(kind[1:])
    word &= (1 << size) - 1
    return word - (1 << size) if kind[0] == "s" and word >> (size - 1) else word


def inputs(random, kind, lanes=THREADS):
    """Random numbers of a type, small and large, and the special ones."""
    if kind in SPECIAL:
        spread = 3 if kind == "f16" else 20
        found = list(random.standard_normal(lanes) * 2.0 ** random.integers(-spread, spread, lanes))
        found = [value(kind, bits(kind, x)) for x in found]
        found[: len(SPECIAL[kind])] = [value(kind, bits(kind, x)) for x in SPECIAL[kind]]
    else:
        size = 1 if kind == "pred" else int(kind[1:])
        words = random.integers(0, 2**64, lanes, dtype=np.uint64) >> random.integers(0, 64, lanes).astype(np.uint64)
        edges = [0, 1, 2, 1 << (size - 1), (1 << size) - 1, (1 << (size - 1)) - 1]
        found = [value(kind, word) for word in [*edges, *words][:lanes]]
    return [found[i] for i in random.permutation(lanes)]


DECLARED = "".join(f".reg .{kind} {name}<40>;\n" for kind, name in REGISTERS.items()) + ".reg .b32 %x<9>;\n"


def program(body, parameters=2, threads=THREADS):
    names = ",\n".join(f".param .u64 p{i}" for i in range(parameters))
    text = f".visible .entry test(\n{names}\n)\n.maxntid {threads}, 1, 1\n{{\n{DECLARED}{body}\n}}\n"
    kernel = parse(text)["test"]
    machine.prepare(kernel)
    SEEN.update(instruction.opcode for instruction in kernel.code)
    return kernel


# %rd30 and %rd31: the thread's slots of 64 bytes in the input and in the output; %r30: the thread.
HEAD = """
ld.param.u64 %rd28, [p0]; ld.param.u64 %rd29, [p1];
mov.u32 %r30, %tid.x; mov.u32 %r29, %ctaid.x; mov.u32 %r28, %ntid.x; mad.lo.s32 %r27, %r29, %r28, %r30;
mul.wide.u32 %rd27, %r27, 64;
add.s64 %rd30, %rd28, %rd27; add.s64 %rd31, %rd29, %rd27;
"""


def run(body, given, *, blocks=1, shared=0, schedule=SCHEDULES[0], threads=THREADS):
    """Runs a program; `given` [lanes, 8] words are its input, its output is as large."""
    device = Device()
    given = np.asarray(given, np.uint64)
    addresses = [device.allocate(given, "in", False), device.allocate(np.zeros_like(given), "out", True)]
    device.seal()
    parameters = np.array(addresses, np.uint64).view(np.uint8)
    grid = [(x, 0, 0) for x in range(blocks)]
    kernel = program(HEAD + body + "\nret;", threads=threads)
    machine.Run(kernel, device, (blocks, 1, 1), grid, threads, shared, parameters, **schedule).go()
    return device.content(1).view(np.uint64).reshape(given.shape)


def slots(columns, kinds, lanes=THREADS):
    given = np.zeros((lanes, 8), np.uint64)
    for i, (column, kind) in enumerate(zip(columns, kinds)):
        given[:, i] = [bits(kind, x) for x in column]
    return given


def load(place, kind):
    """Loads slot `place`: into a register of its own."""
    held = register_of(kind)
    name = f"{REGISTERS[held]}{place}"
    if kind == "pred":
        return name, f"ld.global.u32 %r{place + 20}, [%rd30+{8 * place}]; setp.ne.s32 {name}, %r{place + 20}, 0;"
    return name, f"ld.global.{'f32' if kind == 'f32' else held} {name}, [%rd30+{8 * place}];"


def evaluate(opcode, kinds, out, schedule=SCHEDULES[0]):
    """`opcode` of random values of `kinds`: the values, and what it makes of them, of type `out`."""
    random = np.random.default_rng(len(opcode))
    columns = [inputs(random, kind) for kind in kinds]
    names, loads = zip(*(load(i, kind) for i, kind in enumerate(kinds)))
    held = register_of(out)
    to = f"{REGISTERS[held]}9"
    body = "\n".join([*loads, f"{opcode} {to}, {', '.join(names)};"])
    if out == "pred":
        body += "\nselp.b32 %r9, 1, 0, %p9;"
        to, held = "%r9", "b32"
    found = run(f"{body}\nst.global.{held} [%rd31], {to};", slots(columns, kinds), schedule=schedule)
    return list(zip(*columns)), [value(out, word) for word in found[:, 0]]


def truncated(a, b):
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1) if b else None


def single(x):
    """The nearest f32: exact for one sum, product, quotient or root of numbers of f32 that was worked out in f64."""
    with np.errstate(all="ignore"):
        return float(np.float32(x))


def guarded(function):
    """The formula where it is defined."""

    def checked(*values):
        with np.errstate(all="ignore"):
            return float(np.float32(function(*(np.float64(x) for x in values))))

    return checked


def clamp_shift(x, by, size, left):
    by = min(by, size)
    return x << by if left else x >> by


nan = math.isnan
ORDER = {
    "eq": lambda a, b: a == b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
}


def formulas():
    """(opcode, types of the operands, type of the result, formula)."""
    for size in (32, 64):
        for kind in (f"s{size}", f"u{size}"):
            yield f"add.{kind}", [kind] * 2, kind, lambda a, b: a + b
            yield f"sub.{kind}", [kind] * 2, kind, lambda a, b: a - b
            yield f"mul.lo.{kind}", [kind] * 2, kind, lambda a, b: a * b
            yield f"mad.lo.{kind}", [kind] * 3, kind, lambda a, b, c: a * b + c
            yield f"min.{kind}", [kind] * 2, kind, min
            yield f"max.{kind}", [kind] * 2, kind, max
            yield f"div.{kind}", [kind] * 2, kind, truncated
            yield f"rem.{kind}", [kind] * 2, kind, lambda a, b: a - truncated(a, b) * b if b else None
            yield f"shr.{kind}", [kind, "u32"], kind, lambda x, by, n=size: clamp_shift(x, by, n, left=False)
            yield f"selp.{kind}", [kind, kind, "pred"], kind, lambda a, b, p: a if p else b
            yield f"mov.{kind}", [kind], kind, lambda a: a
            for name, function in ORDER.items():
                yield f"setp.{name}.{kind}", [kind] * 2, "pred", function
            yield f"setp.ne.{kind}", [kind] * 2, "pred", lambda a, b: a != b
            yield f"cvt.rn.f32.{kind}", [kind], "f32", lambda a: single(Fraction(a)) if abs(a) < 2**53 else None
        yield f"neg.s{size}", [f"s{size}"], f"s{size}", lambda a: -a
        yield f"abs.s{size}", [f"s{size}"], f"s{size}", abs
        bit = f"b{size}"
        yield f"shl.{bit}", [bit, "u32"], bit, lambda x, by, n=size: clamp_shift(x, by, n, left=True)
        yield f"not.{bit}", [bit], bit, lambda a: ~a
        for kind in (bit, "pred"):
            yield f"and.{kind}", [kind] * 2, kind, lambda a, b: a & b
            yield f"or.{kind}", [kind] * 2, kind, lambda a, b: a | b
            yield f"xor.{kind}", [kind] * 2, kind, lambda a, b: a ^ b
    yield "not.pred", ["pred"], "pred", lambda a: not a
    yield "mul.wide.s32", ["s32"] * 2, "s64", lambda a, b: a * b
    yield "mul.wide.u32", ["u32"] * 2, "u64", lambda a, b: a * b
    yield "mad.wide.s32", ["s32", "s32", "s64"], "s64", lambda a, b, c: a * b + c
    yield "mul.hi.u32", ["u32"] * 2, "u32", lambda a, b: a * b >> 32
    yield "mul.hi.s32", ["s32"] * 2, "s32", lambda a, b: a * b >> 32
    for of in ("s32", "u32", "s64", "u64", "u16", "s16"):
        for to in ("s32", "u32", "s64", "u64", "u16", "s16"):
            yield f"cvt.{to}.{of}", [of], to, lambda a: a
    yield from floats()


def floats():
    two, one = ["f32"] * 2, ["f32"]
    yield "add.f32", two, "f32", guarded(lambda a, b: a + b)
    yield "sub.f32", two, "f32", guarded(lambda a, b: a - b)
    yield "mul.rn.f32", two, "f32", guarded(lambda a, b: a * b)
    yield "div.rn.f32", two, "f32", guarded(lambda a, b: a / b)
    yield "rcp.rn.f32", one, "f32", guarded(lambda a: 1 / a)
    yield "sqrt.rn.f32", one, "f32", guarded(np.sqrt)
    yield "min.f32", two, "f32", lambda a, b: b if nan(a) else a if nan(b) else min(a, b)
    yield "max.f32", two, "f32", lambda a, b: b if nan(a) else a if nan(b) else max(a, b)
    yield "neg.f32", one, "f32", lambda a: -a
    yield "abs.f32", one, "f32", abs
    yield "copysign.f32", two, "f32", lambda sign, x: math.copysign(x, sign)
    yield "cvt.sat.f32.f32", one, "f32", lambda a: 0.0 if nan(a) else min(max(a, 0.0), 1.0)
    for kind, low, high in (("s32", -(2**31), 2**31 - 1), ("u32", 0, 2**32 - 1), ("u64", 0, 2**64 - 1), ("s64", -(2**63), 2**63 - 1)):
        bounded = lambda a, low=low, high=high: high if a > high else low if a < low else math.trunc(a)
        yield f"cvt.rzi.{kind}.f32", one, kind, lambda a, bounded=bounded: 0 if nan(a) else bounded(a)
    yield "cvt.f32.f16", ["f16"], "f32", lambda a: a
    yield "mov.f32", one, "f32", lambda a: a
    yield "selp.f32", ["f32", "f32", "pred"], "f32", lambda a, b, p: a if p else b
    for name, function in {**ORDER, "ne": lambda a, b: a < b or a > b}.items():
        yield f"setp.{name}.f32", two, "pred", function
        yield f"setp.{name}u.f32", two, "pred", lambda a, b, f=function: f(a, b) or nan(a) or nan(b)
    yield "setp.nan.f32", two, "pred", lambda a, b: nan(a) or nan(b)
    yield "setp.num.f32", two, "pred", lambda a, b: not (nan(a) or nan(b))


class Arithmetic(unittest.TestCase):
    def test_formulas(self):
        for opcode, kinds, out, formula in formulas():
            with self.subTest(opcode):
                for values, found in zip(*evaluate(opcode, kinds, out)):
                    exact = formula(*values)
                    if exact is None:
                        continue
                    exact = value(out, bits(out, exact))
                    # Zeros have a sign, but for the larger of two.
                    same = bits(out, found) == bits(out, exact) or (exact == found == 0 and opcode in ("min.f32", "max.f32"))
                    self.assertTrue(same or (nan(exact) and nan(found)), f"{opcode} {values}: {found}, not {exact}")

    def test_fused_rounds_once(self):
        for mode in ("rn", "rm"):
            for values, found in zip(*evaluate(f"fma.{mode}.f32", ["f32"] * 3, "f32")):
                if not all(map(math.isfinite, values)) or not abs(found) < 1e38:
                    self.assertFalse(all(map(math.isfinite, values)) and nan(found), values)
                    continue
                a, b, c = map(Fraction, values)
                exact, unit = a * b + c, Fraction(float(np.spacing(np.float32(abs(found) or 1e-45))))
                most = unit * Fraction(1 if mode == "rm" else 0.5) * (1 + Fraction(2) ** -20)
                self.assertLessEqual(abs(Fraction(found) - exact), most, values)
                if mode == "rm":
                    self.assertLessEqual(Fraction(found), exact + unit * Fraction(2) ** -20, values)

    def test_halves(self):
        for mode in ("rn", "rz"):
            values, found = evaluate(f"cvt.{mode}.f16.f32", ["f32"], "f16")
            for (x,), y in zip(values, found):
                if not math.isfinite(x) or abs(x) >= 65504:
                    self.assertTrue(nan(y) if nan(x) else math.copysign(1, y) == math.copysign(1, x) and abs(y) >= 65504)
                elif mode == "rn":
                    self.assertEqual(bits("f16", y), bits("f16", x))
                else:
                    self.assertLessEqual(abs(y), abs(x))
                    self.assertLess(abs(x) - abs(y), float(np.spacing(np.float16(y))))
            for (a, b), pair in zip(*evaluate(f"cvt.{mode}.f16x2.f32", ["f32", "f32"], "b32")):
                if mode == "rn" and abs(a) < 65504 and abs(b) < 65504:
                    self.assertEqual(pair, bits("f16", a) << 16 | bits("f16", b))

    def test_exponentials_err_by_their_bound(self):
        for opcode in ("ex2.approx.f32", "ex2.approx.ftz.f32"):
            for schedule in SCHEDULES:
                for (x,), y in zip(*evaluate(opcode, ["f32"], "f32", schedule)):
                    if nan(x) or x > 127:
                        self.assertTrue(nan(y) if nan(x) else y == math.inf or x < 128)
                        continue
                    exact = 2.0**x if x > -1000 else 0.0
                    self.assertFalse(opcode.count("ftz") and 0 < y < 2.0**-126)
                    self.assertLessEqual(abs(y - exact), exact * (2.0**-22 + 2.0**-23) + 2.0**-126, x)

    def test_fields_and_halves_of_words(self):
        given = slots([inputs(np.random.default_rng(1), "u64") for _ in range(2)], ["u64"] * 2)
        body = """
            ld.global.v2.b64 {%rd1, %rd2}, [%rd30];
            bfi.b64 %rd3, %rd1, %rd2, 32, 32; mov.b64 {%r1, %r2}, %rd1; mov.b64 %rd4, {%r2, %r1};
            cvt.u32.u64 %r3, %rd1; cvt.u32.u64 %r4, %rd2; bfi.b32 %r5, %r3, %r4, 5, 11;
            st.global.v2.b64 [%rd31], {%rd3, %rd4}; st.global.u32 [%rd31+16], %r5;
        """
        for (a, b, *_), found in zip(given.tolist(), run(body, given).tolist()):
            self.assertEqual(found[0], (a & 0xFFFFFFFF) << 32 | b & 0xFFFFFFFF)
            self.assertEqual(found[1], (a & 0xFFFFFFFF) << 32 | a >> 32)
            field = 0x7FF << 5
            self.assertEqual(found[2], (a << 5 & field | b & ~field) & 0xFFFFFFFF)

    def test_lanes_part_and_meet(self):
        """A loop of as many rounds as the thread's number, with a part that every third leaves out."""
        body = """
            mov.u32 %r1, 0; mov.u32 %r2, 0;
            $loop:
            setp.ge.s32 %p1, %r1, %r30; @%p1 bra $end;
            rem.s32 %r3, %r1, 3; setp.eq.s32 %p2, %r3, 0; @!%p2 add.s32 %r2, %r2, %r1;
            add.s32 %r1, %r1, 1; bra.uni $loop;
            $end:
            shfl.sync.bfly.b32 %r4|%p3, %r2, 1, 31, -1;
            st.global.u32 [%rd31], %r4;
        """
        found = run(body, np.zeros((THREADS, 8)))[:, 0].tolist()
        sums = [sum(i for i in range(t) if i % 3) for t in range(THREADS)]
        self.assertEqual(found, [sums[t ^ 1] for t in range(THREADS)])


class Warp(unittest.TestCase):
    def test_shuffles(self):
        """The manual's own text of shfl.sync, for every mode, distance and width."""
        random = np.random.default_rng(3)
        given = slots([inputs(random, "u32")], ["u32"])
        values = given[:, 0].tolist()
        for mode in ("bfly", "up", "down", "idx"):
            for by in (0, 1, 2, 7, 16, 31):
                for width in (32, 16, 4):
                    clamp = (0 if mode == "up" else 31) | (32 - width) << 8
                    body = f"""
                        ld.global.u32 %r1, [%rd30]; mov.b32 %r3, -1;
                        shfl.sync.{mode}.b32 %r2|%p1, %r1, {by}, {clamp}, %r3; selp.b32 %r4, 1, 0, %p1;
                        st.global.v2.u32 [%rd31], {{%r2, %r4}};
                    """
                    for thread, word in enumerate(run(body, given)[:, 0].tolist()):
                        lane, first = thread % 32, thread % 32 // width * width
                        source = {"bfly": lane ^ by, "up": lane - by, "down": lane + by, "idx": first + by % width}[mode]
                        inside = source >= first if mode == "up" else source < first + width
                        expected = values[thread - lane + source] if inside else values[thread]
                        self.assertEqual((word & 0xFFFFFFFF, word >> 32), (expected, inside), (mode, by, width, thread))

    def test_matrices(self):
        """Tiles of 8 x 8 at scattered rows; the fragments of the manual."""
        tiles = np.random.default_rng(4).integers(0, 2**16, (THREADS // 32, 4, 8, 8), dtype=np.uint16)
        given = np.zeros((THREADS, 8), np.uint64)
        given[:, :2] = tiles.reshape(THREADS, 8).view(np.uint64)
        for trans in ("", ".trans"):
            body = f"""
                ld.global.v4.b32 {{%r1, %r2, %r3, %r4}}, [%rd30];
                mul.lo.s32 %r5, %r30, 48; mov.u32 %r6, shared; add.s32 %r5, %r5, %r6;
                st.shared.v4.b32 [%r5], {{%r1, %r2, %r3, %r4}};
                bar.sync 0;
                ldmatrix.sync.aligned.m8n8.x4{trans}.shared.b16 {{%r1, %r2, %r3, %r4}}, [%r5];
                st.global.v4.b32 [%rd31], {{%r1, %r2, %r3, %r4}};
            """
            found = run(body, given, shared=48 * THREADS)[:, :2].copy().view(np.uint16).reshape(THREADS, 4, 2)
            for thread, tile, i in np.ndindex(THREADS, 4, 2):
                row, column = thread % 32 // 4, thread % 4 * 2 + i
                expected = tiles[thread // 32, tile][(column, row) if trans else (row, column)]
                self.assertEqual(found[thread, tile, i], expected, (trans, thread, tile, i))

    def test_products(self):
        random = np.random.default_rng(5)
        a, b = (random.standard_normal(shape).astype(np.float16) for shape in ((2, 16, 16), (2, 16, 8)))
        c = random.standard_normal((2, 16, 8)).astype(np.float32)
        given = np.zeros((THREADS, 8), np.uint64)
        halves, singles = given.view(np.uint16).reshape(THREADS, 32), given.view(np.float32).reshape(THREADS, 16)
        for thread in range(THREADS):
            warp_, group, lane = thread // 32, thread % 32 // 4, thread % 4
            for i in range(8):
                row = group + (0 if i < 2 or 4 <= i < 6 else 8)
                column = lane * 2 + (i & 1) + (8 if i >= 4 else 0)
                halves[thread, i] = a[warp_, row, column].view(np.uint16)
            for i in range(4):
                halves[thread, 8 + i] = b[warp_, lane * 2 + (i & 1) + (8 if i >= 2 else 0), group].view(np.uint16)
                singles[thread, 8 + i] = c[warp_, group + (8 if i >= 2 else 0), lane * 2 + (i & 1)]
        body = """
            ld.global.v4.b32 {%r1, %r2, %r3, %r4}, [%rd30]; ld.global.v2.b32 {%r5, %r6}, [%rd30+16];
            ld.global.v4.f32 {%f1, %f2, %f3, %f4}, [%rd30+32];
            mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f1, %f2, %f3, %f4}, {%r1, %r2, %r3, %r4}, {%r5, %r6}, {%f1, %f2, %f3, %f4};
            st.global.v4.f32 [%rd31], {%f1, %f2, %f3, %f4};
        """
        found = run(body, given).view(np.float32).reshape(THREADS, 16)
        exact = c + a.astype(np.float64) @ b.astype(np.float64)
        for thread, i in np.ndindex(THREADS, 4):
            place = (thread // 32, thread % 32 // 4 + (8 if i >= 2 else 0), thread % 4 * 2 + (i & 1))
            self.assertLessEqual(abs(found[thread, i] - exact[place]), 2.0**-23 * abs(exact[place]) + 1e-6, (thread, i))
