"""The PTX of the kernels in the library, from nvcc."""

import pathlib
import re
import shutil
import subprocess
import tempfile

import kernel_resources

from .parser import Fault, parse

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
KERNELS = ROOT / "kernels"
REGISTRY = ROOT / "src" / "backend" / "cuda" / "kernels.rs"
METHODS = ROOT / "src" / "methods"
# The architectures whose PTX is run: the oldest, from which drivers make code for those that are not listed, and Hopper.
ARCHITECTURES = (80, 90)


def registered():
    """Every kernel that the program loads."""
    table = r"^kernels! \{\n *by_type \[(.*?)\]\n *single \[(.*?)\]\n\}"
    found = re.search(table, REGISTRY.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    by_type, single = (re.findall(r"\w+", part) for part in found.groups()) if found else ([], [])
    if not (by_type and single):
        raise Fault(f"{REGISTRY} holds no table of kernels")
    # A method looks its own kernels up by name.
    methods = (path.read_text(encoding="utf-8") for path in sorted(METHODS.rglob("*.rs")))
    own = [name for text in methods for name in re.findall(r'"(\w+)"', " ".join(re.findall(r"\.method_kernel\((.*?)\)", text)))]
    return [f"{name}_{dtype}" for name in by_type for dtype in ("f16", "f32")] + single + own


def changed(file, text):
    """All kernels in one text, with `text` instead of a file."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch) / "kernels"
        shutil.copytree(KERNELS, folder)
        (folder / file).write_text(text, encoding="utf-8")
        return kernel_resources.amalgam(folder)


def compiled(nvcc, target, text, keep=None):
    """Kernel name to kernel, from a text of all; the PTX is kept at `keep`."""
    with tempfile.TemporaryDirectory() as scratch:
        source = pathlib.Path(scratch) / "kernels.cu"
        source.write_text(text, encoding="utf-8")
        out = source.with_suffix(".ptx")
        command = [nvcc, *kernel_resources.FLAGS, "-ptx", f"-arch={target}", "-o", out, source]
        command = [str(part) for part in command]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode != 0:
            raise Fault(f"nvcc ended with {done.returncode}:\n{done.stdout}")
        if keep:
            keep.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(out, keep)
        return parse(out.read_text(encoding="utf-8"))


def release(nvcc):
    about = subprocess.run([str(nvcc), "--version"], stdout=subprocess.PIPE, check=True, text=True).stdout
    found = re.search(r"release [\d.]+, V([\d.]+)", about)
    return found[1] if found else "of an unknown version"
