"""Runs the kernels of the library; see scripts/ptx-check.sh."""

import argparse
import multiprocessing
import os
import pathlib
import sys
import time
from dataclasses import dataclass

import kernel_resources
import numpy as np

from . import machine, planting, source
from .cases import CASES
from .parser import Fault, parse

# A kernel of whose instructions the cases execute less than this share has too few of them.
LEAST_EXECUTED = 0.9
# By target, as `sm_90`, then name; set before processes are forked.
KERNELS = {}


@dataclass
class Outcome:
    """What the cases of one kernel came to."""

    target: str
    kernel: str
    launches: int
    blocks: int
    # The worst error as a share of what is allowed.
    share: float
    # Lines of the PTX that were executed and that were not, and the instructions of the former.
    executed: int
    lines_left: list
    opcodes: set
    seconds: float
    faults: list


def run(task):
    """Every case of a kernel."""
    target, name = task
    kernel, began = KERNELS[target][name], time.monotonic()
    outcome = Outcome(target, name, 0, 0, 0.0, 0, [], set(), 0.0, [])
    covered = np.zeros(len(kernel.code), bool)
    try:
        machine.prepare(kernel)
        for label, make in CASES.get(name, []):
            launch = make()
            try:
                covered |= launch.run(kernel)
            except Fault as fault:
                outcome.faults.append(f"{label}: {fault}")
            outcome.launches += 1
            outcome.blocks += len(launch.blocks)
            outcome.share = max(outcome.share, launch.share)
        if not outcome.launches:
            outcome.faults.append(f"{name} has no case: write one in scripts/ptx/cases")
        elif not outcome.faults and covered.mean() < LEAST_EXECUTED:
            outcome.faults.append(f"{name}: its cases execute {covered.mean():.0%} of its instructions: add shapes to them")
    except Fault as fault:
        outcome.faults.append(str(fault))
    outcome.executed = int(covered.sum())
    outcome.lines_left = [instruction.line for instruction, seen in zip(kernel.code, covered) if not seen]
    outcome.opcodes = {instruction.opcode for instruction, seen in zip(kernel.code, covered) if seen}
    outcome.seconds = time.monotonic() - began
    return outcome


def tell(outcome):
    total = outcome.executed + len(outcome.lines_left)
    print(
        f"{outcome.target} {outcome.kernel}: {outcome.launches} launches, {outcome.blocks} blocks, "
        f"{outcome.executed} of {total} instructions executed, worst error {outcome.share:.0%} of what is allowed, "
        f"{outcome.seconds:.1f} s",
        flush=True,
    )
    for fault in outcome.faults:
        print(f"FAIL {outcome.target} {fault}", flush=True)


def different():
    """(target, kernel) to run: a kernel whose text is the same for a second target is run once."""
    tasks, texts = [], {}
    for target, kernels in KERNELS.items():
        for name, kernel in kernels.items():
            if texts.setdefault((name, kernel.text), target) == target:
                tasks.append((target, name))
    # The longest first: two processes then end at about the same time.
    return sorted(tasks, key=lambda task: (task[1].startswith("patch_nn"), task[1].startswith("inctrl")), reverse=True)


def opcodes(outcomes):
    """Tells what was executed of each target's instructions, and what was not."""
    ran = {(outcome.target, outcome.kernel): outcome for outcome in outcomes}
    by_text = {(KERNELS[key[0]][key[1]].text): outcome for key, outcome in ran.items()}
    for target, kernels in KERNELS.items():
        executed = set().union(*(by_text[kernel.text].opcodes for kernel in kernels.values()))
        there = {instruction.opcode for kernel in kernels.values() for instruction in kernel.code}
        same = sum((target, name) not in ran for name in kernels)
        print(f"\n{target}: {len(executed)} of {len(there)} opcodes were executed", end="")
        print(f"; {same} of {len(kernels)} kernels have the text of another target" if same else "")
        if not same or same < len(kernels):
            print(" ".join(sorted(executed)))
        if left := there - executed:
            print(f"not executed: {' '.join(sorted(left))}")


def compile_all(nvcc):
    """Target to its kernels, of every architecture that is run."""
    kept = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", source.ROOT / "target")) / "ptx"
    print(f"nvcc {source.release(nvcc)}; its PTX is kept in {kept}")
    text = kernel_resources.amalgam()
    targets = [f"sm_{architecture}" for architecture in source.ARCHITECTURES]
    return {target: source.compiled(nvcc, target, text, kept / f"{target}.ptx") for target in targets}


def check(targets, only, jobs):
    began, names = time.monotonic(), source.registered()
    for target, kernels in targets.items():
        if difference := sorted(set(kernels) ^ set(names)):
            raise Fault(f"{target}: compiled or registered, but not both: {', '.join(difference)}")
        KERNELS[target] = {name: kernel for name, kernel in kernels.items() if only in name}
    if unknown := sorted(set(CASES) - set(names)):
        raise Fault(f"cases of kernels that do not exist: {', '.join(unknown)}")
    outcomes = []
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        for outcome in pool.imap_unordered(run, different()):
            tell(outcome)
            outcomes.append(outcome)
    opcodes(outcomes)
    failed = sum(bool(outcome.faults) for outcome in outcomes)
    launches, blocks = (sum(getattr(outcome, what) for outcome in outcomes) for what in ("launches", "blocks"))
    print(f"\n{len(outcomes)} kernels, {launches} launches, {blocks} blocks, each in both schedules: {failed} kernels failed")
    print(f"{time.monotonic() - began:.0f} s")
    return 1 if failed or not outcomes else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, prog="scripts/ptx-check.sh")
    parser.add_argument("--only", default="", help="kernels, or faults, whose name has this text")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--ptx", type=pathlib.Path, help="run this file, written by NVRTC or another nvcc")
    parser.add_argument("--faults", action="store_true", help="plant each fault and report which case detects it")
    options = parser.parse_args()
    try:
        if options.faults:
            sys.exit(planting.plant_all(kernel_resources.find_nvcc(None), options.only, options.jobs))
        targets = (
            {options.ptx.name: parse(options.ptx.read_text(encoding="utf-8").rstrip("\0"))}
            if options.ptx
            else compile_all(kernel_resources.find_nvcc(None))
        )
        sys.exit(check(targets, options.only, options.jobs))
    except Fault as fault:
        sys.exit(f"ptx: {fault}")


if __name__ == "__main__":
    main()
