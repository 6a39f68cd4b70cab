#!/usr/bin/env python3
"""Compiles the CUDA kernels for every architecture and reports which resources of a multiprocessor each needs.

    scripts/kernel_resources.py [FOLDER] [--check]

nvcc is taken from FOLDER (a toolkit, or a folder of pip's wheels), NVCC, CUDA_HOME, CUDA_PATH or PATH, in this order.
Writes benches/results/kernel_resources.json: registers a thread, static shared memory and spilled bytes of each kernel,
and the version of nvcc. With --check nothing is written, and the run fails where a kernel takes more registers than the
table says or is missing from it. Spills and static shared memory always fail: launchers ask for all shared memory.

Needs Python and nvcc alone; no GPU.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
KERNELS = ROOT / "kernels"
TABLE = ROOT / "benches" / "results" / "kernel_resources.json"
ARCHITECTURES = [80, 86, 87, 89, 90, 100, 120]
# Those of build.rs.
FLAGS = ["-std=c++17", "-O3"]


def amalgam(folder=KERNELS):
    """All kernels in one text, with each header where it is first included, as build.rs makes it."""
    seen, lines = set(), []

    def inline(path):
        for line in path.read_text(encoding="utf-8").splitlines():
            include = re.fullmatch(r'\s*#include "([^"]+)"\s*', line)
            header = folder / include[1] if include else None
            if header and header.exists():
                if header not in seen:
                    seen.add(header)
                    inline(header)
            elif line.strip() != "#pragma once":
                lines.append(line)

    for path in sorted(folder.glob("*.cu")):
        inline(path)
    return "\n".join(lines) + "\n"


def find_nvcc(folder):
    name = "nvcc.exe" if os.name == "nt" else "nvcc"
    candidates = []
    if folder:
        # A toolkit has bin/nvcc; the wheels put it deeper.
        candidates += [folder / "bin" / name, *sorted(folder.glob(f"**/bin/{name}"))]
    elif os.environ.get("NVCC"):
        candidates.append(pathlib.Path(os.environ["NVCC"]))
    else:
        homes = [os.environ[home] for home in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(home)]
        candidates += [pathlib.Path(home) / "bin" / name for home in homes]
        candidates += filter(None, [pathlib.Path(found) if (found := shutil.which(name)) else None])
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    where = f" under {folder}" if folder else ""
    sys.exit(f"kernel_resources: no nvcc{where}; set NVCC or CUDA_HOME, or give its folder")


def run(command):
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        sys.exit(f"kernel_resources: {command[0]} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def parse(report):
    """Kernel name to resources, from what ptxas prints with -v."""
    kernels, name = {}, None
    for line in report.splitlines():
        if found := re.search(r"Compiling entry function '(\w+)'", line):
            name = found[1]
            kernels[name] = {"registers": None, "shared": 0, "spill_loads": None, "spill_stores": None}
        elif found := re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line):
            # Device functions that are not inlined have a report of their own, under the entry that calls them.
            if name:
                kernels[name]["spill_stores"] = (kernels[name]["spill_stores"] or 0) + int(found[1])
                kernels[name]["spill_loads"] = (kernels[name]["spill_loads"] or 0) + int(found[2])
        elif found := re.search(r"Used (\d+) registers", line):
            kernels[name]["registers"] = int(found[1])
            if shared := re.search(r"(\d+)(?:\+\d+)? bytes smem", line):
                kernels[name]["shared"] = int(shared[1])
    return kernels


def measure(nvcc):
    expected = set(re.findall(r"^CU_EXPORT\((\w+)\);", "".join(p.read_text() for p in KERNELS.glob("*.cu")), re.M))
    table = {}
    with tempfile.TemporaryDirectory() as scratch:
        source = pathlib.Path(scratch) / "kernels.cu"
        source.write_text(amalgam(), encoding="utf-8")
        for architecture in ARCHITECTURES:
            target = f"arch=compute_{architecture},code=sm_{architecture}"
            cubin = source.with_suffix(".cubin")
            report = run([nvcc, *FLAGS, "-cubin", "-Xptxas", "-v", "-gencode", target, "-o", cubin, source])
            kernels = parse(report)
            incomplete = sorted(name for name, kernel in kernels.items() if None in kernel.values())
            if set(kernels) != expected or incomplete:
                difference = sorted(set(kernels) ^ expected) or incomplete
                sys.exit(f"kernel_resources: sm_{architecture}: not reported, or not exported: {', '.join(difference)}")
            table[f"sm_{architecture}"] = kernels
            most = max(kernel["registers"] for kernel in kernels.values())
            print(f"sm_{architecture}: {len(kernels)} kernels, at most {most} registers")
    return table


def faults(table, committed):
    """What is wrong, one sentence each; `committed` is None where the table is being written."""
    for architecture, kernels in table.items():
        for name, kernel in kernels.items():
            where = f"{architecture} {name}"
            if kernel["spill_loads"] or kernel["spill_stores"]:
                yield f"{where}: spills {kernel['spill_stores']} bytes and reloads {kernel['spill_loads']}"
            if kernel["shared"]:
                yield f"{where}: {kernel['shared']} bytes of static shared memory, where launchers ask for all of it"
            if committed is None:
                continue
            allowed = committed.get(architecture, {}).get(name)
            if allowed is None:
                yield f"{where}: not in {TABLE.name}; write it anew"
            elif kernel["registers"] > allowed["registers"]:
                yield f"{where}: {kernel['registers']} registers, {TABLE.name} has {allowed['registers']}"
    for architecture, kernels in (committed or {}).items():
        for name in kernels.keys() - table.get(architecture, {}).keys():
            yield f"{architecture} {name}: in {TABLE.name}, but no kernel; write it anew"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=pathlib.Path, help="folder of nvcc")
    parser.add_argument("--check", action="store_true", help="compare with the committed table instead of writing it")
    options = parser.parse_args()
    nvcc = find_nvcc(options.folder)
    release = re.search(r"release [\d.]+, V([\d.]+)", run([nvcc, "--version"]))
    if not release:
        sys.exit(f"kernel_resources: {nvcc} does not tell its version")
    committed = None
    if options.check:
        document = json.loads(TABLE.read_text(encoding="utf-8"))
        committed = document["kernels"]
        if document["nvcc"] != release[1]:
            # Registers are the compiler's choice: another version may take more for no fault of the kernels.
            print(f"note: nvcc {release[1]}, the table was made with {document['nvcc']}")
    table = measure(nvcc)
    found = list(faults(table, committed))
    for fault in found:
        print(f"FAIL {fault}")
    if found:
        sys.exit(1)
    if not options.check:
        document = {"flags": FLAGS, "kernels": table, "nvcc": release[1]}
        unfinished = TABLE.with_suffix(".json.part")
        unfinished.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        unfinished.replace(TABLE)
        print(f"wrote {TABLE.relative_to(ROOT)}")
    print("no kernel spills")


if __name__ == "__main__":
    main()
