"""Tests of memory, and of programs that must be refused: python3 -m unittest ptx.selftest ptx.refusals"""

import unittest

import numpy as np

from . import arithmetic, machine, selftest, transfers, warp
from .launch import SCHEDULES, Launch
from .memory import Device
from .parser import Fault, parse
from .selftest import HEAD, SEEN, THREADS, program, run, slots

ZEROS = np.zeros((THREADS, 8), np.uint64)
# %r1: a slot of 16 bytes in shared memory; %r2: that of the thread 32 further on, in the other warp.
SLOTS = """
    mov.u32 %r3, shared; shl.b32 %r1, %r30, 4; add.s32 %r1, %r1, %r3;
    xor.b32 %r2, %r30, 32; shl.b32 %r2, %r2, 4; add.s32 %r2, %r2, %r3;
"""
COPY = "cp.async.cg.shared.global [%r1], [%rd30], 16, 16; cp.async.commit_group;"


class Memory(unittest.TestCase):
    def test_widths_and_spaces(self):
        """Bytes, halves, words and vectors through both kinds of memory and through generic addresses."""
        given = slots([selftest.inputs(np.random.default_rng(1), "u64") for _ in range(4)], ["u64"] * 4)
        body = (
            SLOTS
            + """
            cvt.u64.u32 %rd5, %r1; cvta.shared.u64 %rd6, %rd5; cvta.to.shared.u64 %rd7, %rd6; cvta.to.global.u64 %rd8, %rd30;
            cvt.u32.u64 %r1, %rd7;
            ld.global.nc.v2.u64 {%rd1, %rd2}, [%rd8]; ld.global.u8 %rs1, [%rd30+16]; ld.global.s8 %r4, [%rd30+17];
            ld.global.nc.u16 %rs2, [%rd30+18]; ld.global.s16 %r5, [%rd30+20]; ld.f32 %f1, [%rd30+24];
            st.shared.v2.u64 [%r1], {%rd1, %rd2}; ld.v4.u32 {%r6, %r7, %r8, %r9}, [%rd6]; st.u32 [%rd6+4], %r6;
            ld.shared.v2.b64 {%rd3, %rd4}, [%r1];
            st.global.v2.u64 [%rd31], {%rd3, %rd4}; st.u8 [%rd31+16], %rs1; st.global.u32 [%rd31+20], %r4;
            st.global.u16 [%rd31+24], %rs2; st.global.u32 [%rd31+28], %r5; st.f32 [%rd31+32], %f1;
            cvta.global.u64 %rd9, %rd31; st.global.u8 [%rd9+17], %r9;
        """
        )
        for schedule in SCHEDULES:
            found = run(body, given, shared=16 * THREADS, schedule=schedule)
            before, after = given.view(np.uint8), found.view(np.uint8)
            for old, new in zip(before, after):
                self.assertEqual(new[:16].tolist(), [*old[:4], *old[:4], *old[8:16]])
                self.assertEqual(new[16:18].tolist(), [old[16], old[12]])
                self.assertEqual(new[20:24].view(np.int32)[0], old[17:18].view(np.int8)[0])
                self.assertEqual(new[24:26].tolist(), old[18:20].tolist())
                self.assertEqual(new[28:32].view(np.int32)[0], old[20:22].view(np.int16)[0])
                self.assertEqual(new[32:36].tolist(), old[24:28].tolist())

    def test_copies_land_where_they_are_waited_for(self):
        given = slots([selftest.inputs(np.random.default_rng(2), "u64") for _ in range(4)], ["u64"] * 4)
        body = (
            SLOTS
            + """
            add.s32 %r4, %r1, 1024; mov.u32 %r5, 4;
            cp.async.cg.shared.global [%r1], [%rd30], 16, 16; cp.async.commit_group;
            cp.async.cg.shared.global [%r4], [%rd30+16], 16, %r5; cp.async.commit_group;
            cp.async.wait_group 1; ld.shared.v2.u64 {%rd1, %rd2}, [%r1];
            cp.async.wait_all; bar.sync 0; ld.shared.v2.u64 {%rd3, %rd4}, [%r4];
            st.global.v2.u64 [%rd31], {%rd1, %rd2}; st.global.v2.u64 [%rd31+16], {%rd3, %rd4};
        """
        )
        for schedule in SCHEDULES:
            found = run(body, given, shared=32 * THREADS, schedule=schedule)
            # Of the second piece four bytes are read, the others are zeros.
            self.assertEqual(found[:, :2].tolist(), given[:, :2].tolist())
            self.assertEqual(found[:, 2].tolist(), (given[:, 2] & np.uint64(0xFFFFFFFF)).tolist())
            self.assertEqual(found[:, 3].tolist(), [0] * THREADS)

    def test_atomics_of_all_blocks_meet(self):
        given = slots([selftest.inputs(np.random.default_rng(3), "u64", 3 * THREADS)], ["u64"], 3 * THREADS)
        body = """
            ld.global.u64 %rd1, [%rd30]; atom.global.max.u64 %rd2, [%rd29], %rd1;
            cvt.u32.u64 %r1, %rd1; atom.global.min.s32 %r2, [%rd29+64], %r1;
        """
        found = run(body, given, blocks=3)
        self.assertEqual(int(found[0, 0]), int(given[:, 0].max()))
        low = given[:, 0].astype(np.uint32).view(np.int32)
        self.assertEqual(found[1:2, 0].astype(np.uint32).view(np.int32)[0], min(0, low.min()))

    def test_registers_and_shared_memory_begin_poisoned(self):
        body = SLOTS + "ld.shared.f32 %f2, [%r1]; add.f32 %f3, %f1, %f1; st.global.v2.f32 [%rd31], {%f2, %f3};"
        found = run(body, ZEROS, shared=16 * THREADS)[:, 0].copy().view(np.float32)
        self.assertTrue(np.isnan(found).all())


class Refusals(unittest.TestCase):
    def refused(self, why, body, schedules=SCHEDULES, **options):
        for schedule in schedules:
            with self.subTest(body=body, **schedule), self.assertRaisesRegex(Fault, why):
                run(body, ZEROS, schedule=schedule, **options)

    def allowed(self, body, **options):
        for schedule in SCHEDULES:
            run(body, ZEROS, schedule=schedule, **options)

    def test_what_is_not_known(self):
        self.refused("line .*unknown instruction tanh", "tanh.approx.f32 %f1, %f2;")
        self.refused("unknown instruction add.ftz.f32", "add.ftz.f32 %f1, %f2, %f3;")
        self.refused("3 operands|expected", "add.s32 %r1, %r2;")
        self.refused("not a register", "add.s32 %q1, %r2, %r3;")
        self.refused("holds float32", "add.s64 %f1, %rd2, %rd3;")
        self.refused("barriers other than", "bar.sync 1;")
        self.refused("not known", "mov.b32 %r3, 65535; shfl.sync.bfly.b32 %r1|%p1, %r2, 1, 31, %r3;")
        # Whether or not it would be executed.
        self.refused("unknown instruction", "setp.ne.s32 %p1, %r30, %r30; @%p1 trap;")
        with self.assertRaisesRegex(Fault, "registers of type .f64"):
            program(".reg .f64 %d<4>;")

    def test_addresses(self):
        self.refused("outside an allocation", "ld.global.u32 %r1, [%rd28+-4];")
        self.refused("outside an allocation", "ld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%rd30+64];")
        self.refused("not aligned", "ld.global.u32 %r1, [%rd30+2];")
        self.refused("not aligned", "ld.global.v2.u32 {%r1, %r2}, [%rd30+4];")
        self.refused("another thread of the launch has stored", "st.global.u32 [%rd29], 1;")
        # Not at once: each where its neighbour was before.
        body = "setp.eq.s32 %p1, %r30, 0; st.global.u32 [%rd31], 1; @!%p1 st.global.u32 [%rd31+-64], 1;"
        self.refused("another thread of the launch has stored", body)
        self.allowed("st.global.u32 [%rd31], 1; st.global.u32 [%rd31], 2;")
        self.refused("store to the input", "st.global.u32 [%rd30], %r1;")
        self.refused("cache of constant memory", "st.global.u32 [%rd31], 1; ld.global.nc.u32 %r1, [%rd31];")
        self.refused("of 16 bytes of shared memory", SLOTS + "st.shared.u32 [%r1], %r30;", shared=16)
        self.refused("not aligned", SLOTS + "ld.shared.v2.u32 {%r1, %r2}, [%r1+4];", shared=2048)
        self.refused("parameters have 16 bytes", "ld.param.u64 %rd1, [p1+8];")

    def test_races(self):
        meet, write, read = "bar.sync 0;", "st.shared.u32 [%r1], 1;", "ld.shared.u32 %r4, [%r2];"
        self.refused("race: (reads what|writes what)", SLOTS + write + read, shared=1024)
        self.allowed(SLOTS + write + meet + read, shared=1024)
        self.refused("race: (reads what|writes what)", SLOTS + write + meet + read + write, shared=1024)
        self.allowed(SLOTS + write + meet + read + meet + write, shared=1024)
        self.refused("race: writes what .* written", SLOTS + write + "st.shared.u32 [%r2], 2;", shared=1024)
        # Neighbours of one warp, and what a thread has waited for, of its own.
        self.allowed("xor.b32 %r5, %r30, 1; shl.b32 %r5, %r5, 4;" + SLOTS + write + "ld.shared.u32 %r4, [%r5];", shared=1024)
        self.allowed(SLOTS + COPY + "cp.async.wait_group 0; ld.shared.u32 %r4, [%r1];", shared=1024)
        self.refused(
            "race",
            "xor.b32 %r5, %r30, 1; shl.b32 %r5, %r5, 4;" + SLOTS + COPY + "cp.async.wait_group 0; ld.shared.u32 %r4, [%r5];",
            shared=1024,
        )

    def test_copies(self):
        self.refused("copy is in flight", SLOTS + COPY + "bar.sync 0; ld.shared.u32 %r4, [%r1];", shared=1024)
        self.refused("copy is in flight", SLOTS + COPY + "cp.async.wait_group 1; ld.shared.u32 %r4, [%r1];", shared=1024)
        self.refused("copy is in flight", SLOTS + COPY + "st.shared.u32 [%r1], 0;", shared=1024)
        self.refused("copies in flight", SLOTS + COPY, shared=1024)
        # A group that is not closed is none that is waited for.
        unclosed = COPY.replace("cp.async.commit_group;", "")
        self.refused("in flight", SLOTS + unclosed + "cp.async.wait_group 0; ld.shared.u32 %r4, [%r1];", shared=1024)
        self.refused("not aligned to 16", SLOTS + "cp.async.cg.shared.global [%r1+8], [%rd30], 16, 16;", shared=2048)
        self.refused(
            "race: (reads what|writes what)", SLOTS + "ld.shared.u32 %r4, [%r2]; " + COPY + "cp.async.wait_all;", shared=1024
        )

    def test_barriers_and_warps(self):
        self.refused("32 of 64 threads come", "setp.lt.s32 %p1, %r30, 32; @%p1 bar.sync 0;")
        self.refused(
            "31 of 64 threads come|33 of 64",
            "setp.lt.s32 %p1, %r30, 31; @%p1 bra $a; bar.sync 0; bra $b;\n$a:\nbar.sync 0;\n$b:\n",
        )
        self.refused("63 of 64", "setp.eq.s32 %p1, %r30, 5; @%p1 ret; bar.sync 0;")
        body = "mov.b32 %r3, -1; setp.ne.s32 %p1, %r30, 37; @%p1 shfl.sync.bfly.b32 %r1|%p2, %r2, 1, 31, %r3;"
        self.refused(r"lanes \[5\] of the warp do not take part", body)

    def test_what_does_not_end(self):
        patience, machine.PATIENCE = machine.PATIENCE, 1000
        self.addCleanup(setattr, machine, "PATIENCE", patience)
        self.refused("does not end", "\n$a:\nbra $a;")

    def test_launches(self):
        with self.assertRaisesRegex(Fault, "compiled for 64"):
            Launch("test", (1,), 32).run(program("ret;", parameters=0))
        with self.assertRaisesRegex(Fault, "`p1` has 8 bytes, the case gives 4"):
            launch = Launch("test", (1,), THREADS)
            launch.arguments = [launch.input(ZEROS), 3]
            launch.run(program("ret;"))
        with self.assertRaisesRegex(Fault, "2 parameters, the case gives 1"):
            launch.arguments.pop()
            launch.run(program("ret;"))

    def test_what_is_left_in_memory(self):
        kernel = program(HEAD + "cvt.rn.f32.s32 %f1, %r30; setp.ne.s32 %p1, %r30, 9; @%p1 st.global.f32 [%rd31], %f1; ret;")

        def launch(**wrong):
            made = Launch("test", (1,), THREADS)
            out = made.output((THREADS, 16), np.float32)
            made.arguments = [made.input(ZEROS), out]
            where = np.zeros((THREADS, 16), bool)
            where[:, 0] = True
            where[9] = wrong.get("all", False)
            where[5, 1] = wrong.get("more", False)
            where[5, 0] = not wrong.get("less", False)
            exact = np.arange(THREADS)[:, None] + wrong.get("off", 0.0)
            made.expect(out, exact, 0.25, where)
            made.run(kernel)
            return made.share

        self.assertEqual(launch(), 0.0)
        self.assertEqual(launch(off=0.125), 0.5)
        for wrong, why in (
            ({"off": 0.5}, "difference 5.00e-01"),
            ({"all": True}, r"\[9, 0\]: found nan"),
            ({"more": True}, r"\[5, 1\]"),
            ({"less": True}, r"\[5, 0\] was written"),
        ):
            with self.assertRaisesRegex(Fault, why):
                launch(**wrong)


class Completeness(unittest.TestCase):
    def test_every_known_instruction_is_in_a_program(self):
        for case in (selftest.Arithmetic, selftest.Warp, Memory):
            unittest.defaultTestLoader.loadTestsFromTestCase(case).run(unittest.TestResult())
        for pattern, _ in (*arithmetic.KNOWN, *transfers.KNOWN, *warp.KNOWN):
            self.assertTrue(any(pattern.fullmatch(opcode) for opcode in SEEN), pattern.pattern)

    def test_parameters_lie_where_the_driver_puts_them(self):
        text = ".visible .entry k(\n.param .u64 a,\n.param .u32 b,\n.param .align 8 .b8 c[136],\n.param .f32 d,\n.param .u64 e\n)\n{\nret;\n}\n"
        places = [(offset, size) for _, offset, size in parse(text)["k"].parameters]
        self.assertEqual(places, [(0, 8), (8, 4), (16, 136), (152, 4), (160, 8)])

    def test_memory_is_laid_out_apart(self):
        device = Device()
        first, second = (device.allocate(np.ones(3, np.uint8), "x", True) for _ in range(2))
        device.seal()
        self.assertEqual((first % 256, second % 256), (0, 0))
        self.assertGreaterEqual(second - first, 256)
