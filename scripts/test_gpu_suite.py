"""Tests of what `gpu-suite.sh pack` refuses, and of the time limits of the steps. Needs binutils.

    cd scripts && python3 -m unittest test_gpu_suite
"""

import io
import lzma
import pathlib
import shutil
import struct
import subprocess
import tempfile
import types
import unittest
from contextlib import redirect_stdout
from unittest import mock

import gpu_suite
from gpu_suite import CODE, PTX

ALL = [*((CODE, sm) for sm in gpu_suite.architectures()), (PTX, 80)]


def fatbin(entries):
    """A fat binary with these entries (kind, architecture), as nvcc lays it out, with bytes of no meaning as code."""
    payload = bytes(range(48))
    header = lambda kind, sm: struct.pack("<HHIQIIHHI", kind, 0x101, 64, len(payload), 0, 0, 0, 0, sm).ljust(64, b"\0")
    body = b"".join(header(*entry) + payload for entry in entries)
    return gpu_suite.FATBIN + struct.pack("<Q", len(body)) + body


class Pack(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.scratch = pathlib.Path(scratch.name)
        self.folder = self.scratch / "pack"

    def program(self, name, code):
        """A program of this machine's with `code` in a section of its own."""
        path = self.scratch / name
        if not code:
            return pathlib.Path(shutil.copy(shutil.which("true"), path))
        section = self.scratch / "section"
        section.write_bytes(code)
        subprocess.run(["objcopy", "--add-section", f".code={section}", shutil.which("true"), path], check=True)
        return path

    def pack(self, *codes):
        """Packs programs that hold these bytes; what it says, or why it refuses."""
        # The third as it should be.
        codes = (*codes, fatbin(ALL))
        programs = [self.program(name, code) for name, code in zip(gpu_suite.PROGRAMS, codes)]
        said = io.StringIO()
        with mock.patch.object(gpu_suite, "build", return_value=programs), mock.patch.object(gpu_suite, "nvcc", return_value={}):
            try:
                with redirect_stdout(said):
                    gpu_suite.pack(self.folder)
            except SystemExit as refusal:
                self.assertFalse(self.folder.exists(), "something was packed")
                return str(refusal)
        return said.getvalue()

    def test_programs_with_machine_code_are_packed_and_come_out_again(self):
        code = fatbin(ALL)
        self.assertIn("0.0 MB, machine code for sm_80", self.pack(code, code))
        self.assertEqual(sorted(path.name for path in self.folder.iterdir()), ["commands.xz", "cuda.xz", "inctrl.xz"])
        programs = gpu_suite.unpack(self.folder, self.scratch)
        for program in programs:
            self.assertEqual(gpu_suite.held(program.read_bytes()), ALL)
            subprocess.run([program], check=True)

    def test_a_program_without_machine_code_is_refused(self):
        code = fatbin(ALL)
        for codes, name in (((b"", code), "inctrl"), ((code, b""), "cuda"), ((code, code[8:]), "cuda")):
            refusal = self.pack(*codes)
            self.assertIn(f"/{name} holds no machine code for GPUs: it was built without nvcc", refusal)

    def test_a_program_without_an_architecture_is_refused(self):
        some = [entry for entry in ALL if entry != (CODE, 87)]
        self.assertIn("cuda holds no machine code for sm_87", self.pack(fatbin(ALL), fatbin(some)))
        # Text for an architecture is no code for it.
        self.assertIn("sm_87", self.pack(fatbin(ALL), fatbin([*some, (PTX, 87)])))
        self.assertIn("no PTX", self.pack(fatbin(ALL), fatbin(ALL[:-1])))

    def test_a_damaged_fat_binary_is_refused(self):
        whole = fatbin(ALL)
        for cut in range(len(whole)):
            self.assertTrue(gpu_suite.lacking(whole[:cut]), f"{cut} of {len(whole)} bytes")

    def test_programs_that_are_too_large_are_refused(self):
        code = fatbin(ALL)
        with mock.patch.object(gpu_suite, "MOST_BYTES", 10_000):
            self.assertIn("nothing was packed", self.pack(code, code))

    def test_a_pack_that_is_not_whole_is_refused(self):
        self.folder.mkdir()
        for content in (None, b"", b"no archive", lzma.compress(bytes(1000))[:40]):
            if content is not None:
                (self.folder / "inctrl.xz").write_bytes(content)
            with self.assertRaises(SystemExit) as refusal:
                gpu_suite.unpack(self.folder, self.scratch)
            self.assertIn("inctrl.xz", str(refusal.exception))


class Time(unittest.TestCase):
    def machine(self, work):
        """A GPU with everything that is run beside it."""
        about = types.SimpleNamespace(stdout="a GPU, 580")
        with mock.patch.object(gpu_suite.shutil, "which", return_value="/bin/true"):
            with mock.patch.object(gpu_suite.subprocess, "run", return_value=about):
                machine = gpu_suite.Gpu(work / "inctrl", work / "cuda", work / "commands", work)
        machine.torch = True
        return machine

    def test_all_steps_end_within_seven_minutes(self):
        with tempfile.TemporaryDirectory() as work:
            order = gpu_suite.steps(self.machine(pathlib.Path(work)))
        self.assertEqual([step.name for step in order if step.missing], [])
        self.assertLessEqual(sum(step.timeout for step in order), 420)
        self.assertTrue(all(step.timeout > 0 and step.commands for step in order))

    def test_an_order_that_takes_longer_is_refused_before_its_first_step(self):
        with tempfile.TemporaryDirectory() as work:
            work = pathlib.Path(work)
            mark = work / "mark"
            order = [gpu_suite.Step("one", 400, [["touch", mark]]), gpu_suite.Step("two", 21, [["true"]])]
            with self.assertRaises(SystemExit) as refusal:
                gpu_suite.run_all(order, self.machine(work), work / "out")
            self.assertIn("421 s together, at most 420 s", str(refusal.exception))
            self.assertFalse(mark.exists())


if __name__ == "__main__":
    unittest.main()
