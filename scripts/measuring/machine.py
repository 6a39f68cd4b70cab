"""Shared by all measurements: a description of the machine, a seeded model, and pictures without a data set."""

import json
import os
import platform
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = ROOT / "target/release/inctrl"
RESULTS = ROOT / "benches/results"


def machine():
    return {"cpu": cpu_name(), "cores": os.cpu_count(), "system": platform.system()}


def cpu_name():
    """The processor's name, and its family and model where they are known: a virtual machine's name says little."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if "model name" not in fields:
        return platform.processor()
    known = "cpu family" in fields and "model" in fields
    return fields["model name"] + (f" (family {fields['cpu family']}, model {fields['model']})" if known else "")


def arch_words(arch):
    """The arguments of `inctrl weights random` for a name, or for a configuration in a file."""
    return ["--config", arch] if arch.endswith(".json") else ["--arch", arch]


@contextmanager
def random_model(program, arch):
    """A folder with `weights.safetensors` of `arch`, the same at every call."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        run(program, "weights", "random", *arch_words(arch), "--seed", "1", "-o", folder / "weights.safetensors")
        yield folder


def run(program, *words):
    subprocess.run([program, *words], check=True, stdout=subprocess.DEVNULL)


def picture(seed, width=300, height=300):
    """A grey texture `[height, width]`, deterministic."""
    # Here, as the README is checked without it.
    import numpy as np

    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    pixels = 128 + 60 * np.sin(x / 7 + rng.random() * 6) * np.cos(y / 11 + rng.random() * 6)
    return (pixels + rng.normal(0, 12, (height, width))).clip(0, 255).astype(np.uint8)


class CoProcess:
    """`inctrl score -`: a path in, its row out."""

    def __init__(self, program, weights, bank, threads):
        words = [program, "score", "--weights", weights, "--bank", bank, "--device", "cpu", "--threads", str(threads)]
        words += ["--format", "jsonl", "-"]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def __call__(self, path):
        self.process.stdin.write(f"{path}\n")
        self.process.stdin.flush()
        row = json.loads(self.process.stdout.readline())
        assert row["error"] is None, row
        return row

    def memory(self):
        """Bytes resident: now, and at most until now."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        return [int(fields[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM")]

    def close(self):
        self.process.stdin.close()
        self.process.wait()
