"""Plants the faults of `faults.py` and reports which case detects each; writes benches/results/ptx_faults.md."""

import multiprocessing
import time

import kernel_resources

from . import machine, source
from .cases import CASES
from .faults import FAULTS, misfits, planted
from .parser import Fault

TABLE = source.ROOT / "benches" / "results" / "ptx_faults.md"
# One is enough: kernels have no code for one architecture alone.
TARGET = "sm_90"
NVCC, RIGHT = None, {}


def first_sign(fault):
    """Kernels whose PTX the fault changes, and what the first case says that fails; both empty where nothing does."""
    file, _, before, after = fault
    text = source.changed(file, planted(file, before, after))
    kernels = source.compiled(NVCC, TARGET, text)
    touched = [name for name in sorted(kernels) if kernels[name].text != RIGHT[name].text]
    for name in touched:
        # What cannot be understood is not seen to be wrong.
        machine.prepare(kernels[name])
        for label, make in CASES[name]:
            try:
                make().run(kernels[name])
            except Fault as sign:
                return touched, f"{label}: {sign}"
    return touched, ""


def one(fault):
    began = time.monotonic()
    touched, sign = first_sign(fault)
    return fault, touched, sign, time.monotonic() - began


def plant_all(nvcc, only, jobs):
    """Every fault; 0 if each was seen."""
    global NVCC
    if wrong := list(misfits()):
        raise Fault("\n".join(["faults.py does not fit the sources:", *wrong]))
    NVCC = nvcc
    RIGHT.update(source.compiled(nvcc, TARGET, kernel_resources.amalgam()))
    chosen = [fault for fault in FAULTS if only in f"{fault[0]} {fault[1]}"]
    results = []
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        for result in pool.imap(one, chosen):
            (file, what, _, _), touched, sign, seconds = result
            said = sign or ("changes no PTX" if not touched else "NOT SEEN")
            print(f"{file}: {what}: {said} [{len(touched)} kernels, {seconds:.0f} s]", flush=True)
            results.append(result)
    unseen = [fault for fault, _, sign, _ in results if not sign]
    if not only:
        write(results, source.release(nvcc))
    print(f"{len(results)} faults, {len(unseen)} not seen")
    return 1 if unseen or not results else 0


def write(results, release):
    rows = [
        "# Faults of what only the device executes",
        "",
        f"Planted by `scripts/ptx-check.sh --faults` in {TARGET}'s PTX of nvcc {release}; the list is `scripts/ptx/faults.py`.",
        "",
        "| file | fault | kernels changed | first seen by | as |",
        "|---|---|---|---|---|",
    ]
    for (file, what, _, _), touched, sign, _ in results:
        case, _, rest = sign.partition(": ")
        rows.append(f"| {file} | {what} | {len(touched)} | {case or 'nothing'} | {shortened(rest)} |")
    seen = sum(bool(sign) for _, _, sign, _ in results)
    rows += ["", f"{len(results)} faults, {seen} seen.", ""]
    unfinished = TABLE.with_suffix(".md.part")
    unfinished.write_text("\n".join(rows), encoding="utf-8")
    unfinished.replace(TABLE)


def shortened(sign):
    """What is said, without the instruction and numbers that change with the compiler."""
    _, _, said = sign.rpartition("`: ")
    said = (said or sign).replace("|", "\\|")
    return said if len(said) < 140 else said[:137] + "..."
