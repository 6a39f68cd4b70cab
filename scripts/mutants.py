#!/usr/bin/env python3
"""Plants one fault at a time in the CUDA kernels and in the host side, and tells whether the tests see it.

    scripts/mutants.py [--kernels | --host] [--only TEXT] [--jobs N] [--list]

Kernels: every barrier and every wait for copies is taken out, or made to wait for one group less; every condition that
guards a tail is made true, or admits one more element; every copy beyond the end is made valid. Host side: a list of
faults in src/backend/cuda. Each mutant runs the tests of the CUDA backend on the emulator (tests/emulator); it is caught
where they fail. What survives must be in EQUIVALENT with its proof, or the run fails.

Writes benches/results/mutants.json and mutants.md. Needs Python, cargo and a C++ compiler; no GPU.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

from mutant_faults import EQUIVALENT, HOST_FAULTS

ROOT = pathlib.Path(__file__).resolve().parent.parent
KERNELS = ROOT / "kernels"
RESULTS = ROOT / "benches" / "results"
# A run of the tests that takes so many times longer than that of the right program does not end.
PATIENCE = 10


class Mutant:
    """One changed place: a file, the line before and after."""

    def __init__(self, path, line, kind, before, after):
        self.path, self.line, self.kind = path, line, kind
        self.before, self.after = before.strip(), after.strip()
        self.text = None

    @property
    def name(self):
        return f"{self.path.name}:{self.line} {self.kind}: {self.before} -> {self.after or '(nothing)'}"


def code_of(line):
    """The line without its comment, as long as before."""
    at = line.find("//")
    return line if at < 0 else line[:at] + " " * (len(line) - at)


LOOSER = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}


def closing(text, opening):
    """The place of the parenthesis that closes the one at `opening`; -1 where the line ends before."""
    depth = 0
    for at in range(opening, len(text)):
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        if depth == 0:
            return at
    return -1


def terms(text, begin, end):
    """What `and` and `or` join in a condition, outside brackets."""
    depth, first = 0, begin
    for at in range(begin, end):
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        if depth == 0 and text[at : at + 4] in (" && ", " || "):
            yield first, at
            first = at + 4
    yield first, end


def comparisons(text, begin, end):
    """Places of the signs of comparisons with what is known only when the kernel runs: a name in small letters on the
    right."""
    for match in re.finditer(r" (<=|>=|<|>) (?=[a-z])", text[begin:end]):
        yield begin + match.start(1), begin + match.end(1)


def mutants_of_line(path, number, line):
    code = code_of(line)

    def changed(kind, begin, end, new):
        return Mutant(path, number, kind, line, line[:begin] + new + line[end:])

    def guards(begin, end, what, alone):
        """Each comparison of a condition left out, and looser by one. `alone` stands for a condition of one term."""
        neutral = "true" if " && " in code[begin:end] else "false" if " || " in code[begin:end] else alone
        for term in terms(code, begin, end):
            signs = list(comparisons(code, *term))
            if signs:
                yield changed(f"no {what}", *term, neutral)
            for sign in signs:
                yield changed(f"{what} looser by one", *sign, LOOSER[code[slice(*sign)]])

    for match in re.finditer(r"__syncthreads\(\);", code):
        yield changed("no barrier", *match.span(), ";")
    for match in re.finditer(r"cu::cp_wait<([^>]*)>\(\);", code):
        yield changed("no wait", *match.span(), ";")
        yield changed("waits for one less", *match.span(), f"cu::cp_wait<({match[1]}) + 1>();")
    for match in re.finditer(r"\bconst bool \w+ = ([^;]+);", code):
        yield from guards(*match.span(1), "validity", "true")
    for match in re.finditer(r"\((\w+) \? ([^:()]+) : 0\)", code):
        yield changed("address not kept inside", *match.span(), f"({match[2]})")
    for match in re.finditer(r"\bif \(", code):
        end = closing(code, match.end() - 1)
        if end > 0:
            leaves = re.match(r"\) (return|continue);", code[end:])
            yield from guards(match.end(), end, "guard", "false" if leaves else "true")
    for match in re.finditer(r"\bfor \([^;]*; ([^;]*);", code):
        for sign in comparisons(code, *match.span(1)):
            yield changed("loop longer by one", *sign, LOOSER[code[slice(*sign)]])
    for match in re.finditer(r" (<=|>=|<|>) [a-z][^?;&|()]* \? ", code):
        yield changed("clamp looser by one", *match.span(1), LOOSER[match[1]])
    for match in re.finditer(r"\.offer\(.*, (\w+ < [\w.]+)\);", code):
        yield from guards(*match.span(1), "validity", "true")


def kernel_mutants():
    for path in sorted([*KERNELS.glob("*.cu"), *KERNELS.glob("*.cuh")]):
        if path.name == "cu.cuh":
            continue  # The wrappers' device side, which the emulator does not run.
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        for at, line in enumerate(lines):
            if line.startswith("#"):
                continue
            different = {mutant.after: mutant for mutant in mutants_of_line(path, at + 1, line)}
            for mutant in different.values():
                mutant.text = "".join([*lines[:at], mutant_line(line, mutant), *lines[at + 1 :]])
                yield mutant


def mutant_line(line, mutant):
    indent = line[: len(line) - len(line.lstrip())]
    return indent + mutant.after + "\n"


def host_mutants():
    for name, what, before, after in HOST_FAULTS:
        path = ROOT / "src" / "backend" / "cuda" / name
        text = path.read_text(encoding="utf-8")
        if text.count(before) != 1:
            sys.exit(f"mutants: {name} has {before!r} {text.count(before)} times, not once")
        mutant = Mutant(path, text[: text.index(before)].count("\n") + 1, what, before, after)
        mutant.text = text.replace(before, after)
        yield mutant


def build_tests(root, target):
    """The program of the integration tests, built from `root`."""
    command = ["cargo", "test", "--release", "--locked", "--test", "it", "--no-run", "--message-format=json"]
    env = dict(os.environ, CARGO_TARGET_DIR=str(target))
    done = subprocess.run(command, cwd=root, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        return None, done.stderr
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message.get("target", {}).get("name") == "it":
            return pathlib.Path(message["executable"]), ""
    sys.exit("mutants: cargo built no integration tests")


def run_tests(program, root, limit, tests, **variables):
    """Runs some of the tests: None if they pass, otherwise the first sign of the fault."""
    env = dict(os.environ, **variables)
    env.pop("INCTRL_GPU", None)
    # One at a time: a line on stderr then belongs to the test before it.
    command = [str(program), *tests, "--test-threads=1"]
    try:
        done = subprocess.run(
            command, cwd=root, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=limit, text=True, errors="replace"
        )
    except subprocess.TimeoutExpired:
        return "the tests do not end"
    if done.returncode == 0:
        if "SKIP:" in done.stdout or not re.search(r"test result: ok\. [1-9]", done.stdout):
            sys.exit(f"mutants: no CUDA test ran:\n{done.stdout[-2000:]}")
        return None
    lines = done.stdout.splitlines()
    emulator = [line for line in lines if line.startswith("emulator: ")]
    failed = [match[1] for line in lines if (match := re.match(r"test (\S+) \.\.\. FAILED", line))]
    if done.returncode < 0 and emulator:
        return re.sub(r"0x[0-9a-f]+", "0x...", emulator[-1])
    if done.returncode > 0 and failed:
        return "failed: " + ", ".join(name.rsplit("::", 1)[1] for name in failed)
    errors = [line for line in lines if "error: " in line]
    if errors:
        sys.exit(f"mutants: a kernel does not compile: {errors[0]}")
    return f"signal {-done.returncode}" if done.returncode < 0 else "no output"


def first_sign(program, root, limit, **variables):
    """The tests of single operations first, which take seconds."""
    sign = run_tests(program, root, limit, ["cuda::ops::"], **variables)
    return sign or run_tests(program, root, limit, ["cuda::"], **variables)


def outcome(mutant, sign, seconds):
    relative = str(mutant.path.relative_to(ROOT))
    reason = None
    if sign is None:
        reason = next((proof for name, kind, line, proof in EQUIVALENT
                       if name == mutant.path.name and kind == mutant.kind and line in mutant.before), None)
    result = "caught" if sign is not None else "equivalent" if reason else "survived"
    entry = {"file": relative, "line": mutant.line, "kind": mutant.kind, "before": mutant.before, "after": mutant.after}
    return {**entry, "outcome": result, "sign": sign, "proof": reason, "seconds": round(seconds, 1)}


def try_kernel(mutant, program, limit):
    with tempfile.TemporaryDirectory() as scratch:
        kernels = pathlib.Path(scratch) / "kernels"
        shutil.copytree(KERNELS, kernels)
        (kernels / mutant.path.name).write_text(mutant.text, encoding="utf-8")
        began = time.monotonic()
        sign = first_sign(program, ROOT, limit, INCTRL_EMULATOR_KERNELS=str(kernels))
        return outcome(mutant, sign, time.monotonic() - began)


def try_host(mutant, copy, target, limit):
    place = copy / mutant.path.relative_to(ROOT)
    right = place.read_text(encoding="utf-8")
    place.write_text(mutant.text, encoding="utf-8")
    began = time.monotonic()
    try:
        program, errors = build_tests(copy, target)
        if program is None:
            sys.exit(f"mutants: {mutant.name} does not compile:\n{errors[-3000:]}")
        return outcome(mutant, first_sign(program, copy, limit), time.monotonic() - began)
    finally:
        place.write_text(right, encoding="utf-8")


def copy_of_sources(folder):
    """A copy of what git knows of, to change without touching the original."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, place)


def write(entries, commit):
    counts = {}
    for entry in entries:
        file = counts.setdefault(entry["file"], {"caught": 0, "equivalent": 0, "survived": 0})
        file[entry["outcome"]] += 1
    RESULTS.mkdir(parents=True, exist_ok=True)
    table = {"commit": commit, "counts": counts, "mutants": entries}
    (RESULTS / "mutants.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    rows = ["| file | mutants | caught | equivalent | survived |", "|---|---|---|---|---|"]
    totals = [sum(file[key] for file in counts.values()) for key in ("caught", "equivalent", "survived")]
    for file, count in [*sorted(counts.items()), ("**all**", dict(zip(("caught", "equivalent", "survived"), totals)))]:
        rows.append(f"| {file} | {sum(count.values())} | {count['caught']} | {count['equivalent']} | {count['survived']} |")
    text = ["# Mutants of the CUDA backend", "", "Made by `scripts/mutants.py`; every one is in `mutants.json`.", "", *rows, ""]
    for result, title in (("equivalent", "Equivalent"), ("survived", "Survived")):
        chosen = [entry for entry in entries if entry["outcome"] == result]
        if chosen:
            text += [f"## {title}", "", "| place | kind | line | proof |", "|---|---|---|---|"]
            for e in chosen:
                line = e["before"].replace("|", "\\|")
                text.append(f"| {e['file']}:{e['line']} | {e['kind']} | `{line}` | {e['proof'] or ''} |")
            text.append("")
    (RESULTS / "mutants.md").write_text("\n".join(text), encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kernels", action="store_true", help="mutants of kernels alone")
    parser.add_argument("--host", action="store_true", help="faults of the host side alone")
    parser.add_argument("--only", default="", help="mutants whose description has this text")
    parser.add_argument("--jobs", type=int, default=2, help="kernel mutants at a time")
    parser.add_argument("--list", action="store_true", help="print the mutants, run none")
    arguments = parser.parse_args()
    both = arguments.kernels == arguments.host
    kernels = [m for m in kernel_mutants() if arguments.only in m.name] if both or arguments.kernels else []
    hosts = [m for m in host_mutants() if arguments.only in m.name] if both or arguments.host else []
    if arguments.list:
        for mutant in [*kernels, *hosts]:
            print(mutant.name)
        return
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True).stdout.strip()
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    program, errors = build_tests(ROOT, target)
    if program is None:
        sys.exit(f"mutants: the tests do not compile:\n{errors}")
    began = time.monotonic()
    if (sign := first_sign(program, ROOT, 3600)) is not None:
        sys.exit(f"mutants: the tests fail without a fault: {sign}")
    limit = PATIENCE * (time.monotonic() - began) + 60

    built = target / "tmp" / "emulator"
    before = {place for place in [*built.iterdir(), *(built / "objects").iterdir()]}
    entries = []

    def note(entry):
        entries.append(entry)
        print(f"{len(entries)}/{len(kernels) + len(hosts)} {entry['outcome']}: {entry['file']}:{entry['line']} {entry['kind']}"
              f" [{entry['sign'] or entry['proof'] or entry['before']}]", flush=True)

    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        for done in concurrent.futures.as_completed([pool.submit(try_kernel, m, program, limit) for m in kernels]):
            note(done.result())
    if hosts:
        with tempfile.TemporaryDirectory() as scratch:
            copy = pathlib.Path(scratch)
            copy_of_sources(copy)
            for mutant in hosts:
                note(try_host(mutant, copy, target, limit))
    for place in {*built.iterdir(), *(built / "objects").iterdir()} - before:
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    entries.sort(key=lambda e: (e["file"], e["line"], e["kind"], e["after"]))
    if both and not arguments.only:
        write(entries, commit)
    survived = [e for e in entries if e["outcome"] == "survived"]
    print(f"{len(entries)} mutants, {len(survived)} survived")
    sys.exit(1 if survived else 0)


if __name__ == "__main__":
    main()
