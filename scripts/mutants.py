#!/usr/bin/env python3
"""Plants one fault at a time in the CUDA kernels and in the host side, and reports whether the tests detect it.

    scripts/mutants.py [--kernels | --host] [--only TEXT] [--jobs N] [--list | --check]

Kernels: every barrier and every wait for copies is taken out, or made to wait for one group less; every condition that
guards a tail is made true, or admits one more element; every copy beyond the end is made valid. Host side: a list of
faults in the launchers. Each mutant runs the tests of the CUDA backend on the emulator (tests/emulator), those of its
own file first; it is caught where they fail. What survives must be in EQUIVALENT or UNMODELLED with its proof, or the run
fails.

It works on a copy of the sources, so that they can change meanwhile, and notes in target/mutants what each mutant came to:
a run that was cut off goes on where it stopped, as long as kernels, launchers and their tests are the same.

Writes benches/results/mutants.json and mutants.md. Needs Python, cargo and a C++ compiler; no GPU.
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

from mutant_faults import EQUIVALENT, HOST_FAULTS, UNMODELLED
from ptx import faults as device_faults

ROOT = pathlib.Path(__file__).resolve().parent.parent
KERNELS = ROOT / "kernels"
RESULTS = ROOT / "benches" / "results"
# A run of the tests that takes so many times more processor time than that of the right program does not end. A clock on the
# wall would count how busy the machine is.
PATIENCE = 10
# The tests of the operation that a file is about, where it does not have the file's name; others are seen by many.
OWN_TESTS = {
    "attention_tiles": "attention",
    "bins": "pool_columns",
    "class_attention": "attention",
    "cuda": "inctrl_heads",
    "matmul": "linear",
    "search": "patch_nn",
}
OPERATIONS = sorted(path.stem for path in (ROOT / "tests" / "ops").glob("*.rs") if path.stem != "mod")
OUTCOMES = ("caught", "equivalent", "unmodelled", "survived")
# What every mutant meets, until one sees it.
STAGES = (
    ["ops::", "queues::"],
    ["scores::cuda_banks", "scores::cuda_fits", "scores::cuda_frames"],
    ["faults::", "scores::", "device_frames::"],
)


class Mutant:
    """One changed place: a file, the line before and after."""

    def __init__(self, path, line, kind, before, after):
        self.path, self.line, self.kind = path, line, kind
        self.before, self.after = before.strip(), after.strip()
        self.text = None
        # The line with the one before it, to tell places apart.
        self.context = self.before

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
                mutant.context = (lines[at - 1].strip() if at else "") + "\n" + mutant.before
                mutant.text = "".join([*lines[:at], mutant_line(line, mutant), *lines[at + 1 :]])
                yield mutant


def mutant_line(line, mutant):
    indent = line[: len(line) - len(line.lstrip())]
    return indent + mutant.after + "\n"


def host_path(name):
    return ROOT / name if "/" in name else ROOT / "src" / "backend" / "cuda" / name


def host_mutants():
    for name, what, before, after in HOST_FAULTS:
        path = host_path(name)
        text = path.read_text(encoding="utf-8")
        mutant = Mutant(path, text[: text.index(before)].count("\n") + 1, what, before, after)
        mutant.text = text.replace(before, after)
        yield mutant


def misfits():
    """What of the lists does not fit the sources: a place that is not there once, a proof of no mutant, a test that is none."""
    for name, what, before, _ in HOST_FAULTS:
        path = host_path(name)
        times = path.read_text(encoding="utf-8").count(before) if path.is_file() else 0
        if times != 1:
            yield f"{what}: {path.relative_to(ROOT)} has {before!r} {times} times, not once"
    mutants = list(kernel_mutants())
    for name, kind, before, after, _ in (*EQUIVALENT, *UNMODELLED):
        found = [m for m in mutants if (name, kind) == (m.path.name, m.kind) and before in m.context and after in m.after]
        if len(found) != 1:
            yield f"{kind}: the proof of {name}, {before!r} -> {after!r}, is that of {len(found)} mutants, not of one"
    stems = {path.stem for path in [*KERNELS.glob("*.cu*"), *(host_path(name) for name, *_ in HOST_FAULTS)]}
    yield from (f"{stem}: no file of this name is changed" for stem in OWN_TESTS if stem not in stems)
    # By their whole names; the file of a folder's own tests is called mod.rs.
    cuda = ROOT / "tests" / "cuda"
    modules = {path: "::".join(path.relative_to(cuda).with_suffix("").parts).removesuffix("::mod") for path in cuda.rglob("*.rs")}
    tests = [f"{module}::{name}" for path, module in modules.items()
             for name in re.findall(r"fn (cuda_\w+)\(", path.read_text(encoding="utf-8"))]
    for operation in OPERATIONS:
        text = (ROOT / "tests" / "ops" / f"{operation}.rs").read_text(encoding="utf-8")
        stamped = re.findall(r"\w+", "".join(re.findall(r"on_every_device! \{(.*?)\}", text, re.DOTALL)))
        tests += [f"ops::{operation}::{name}::cuda_f16" for name in stamped]
    wanted = {f"ops::{name}::" for name in OWN_TESTS.values()}.union(*STAGES)
    yield from (f"{name}: no test is called so" for name in sorted(wanted) if not any(name in test for test in tests))


class Program:
    """The tests of the CUDA backend, built from a copy of the sources."""

    def __init__(self, target):
        self.target = target
        self.root = target / "mutants" / "sources"
        self.limits = {}
        self.digest = self.copy_sources()

    def copy_sources(self):
        """Copies what git knows of; a hash of what decides about mutants. Files that did not change keep their time, for cargo."""
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True).stdout
        names = [name for name in listed.split("\0") if name and (ROOT / name).is_file()]
        digest = hashlib.sha256()
        for name in names:
            content = (ROOT / name).read_bytes()
            if name == "Cargo.toml":
                # The libraries for C take long to link, and no test here needs them.
                content = re.sub(rb'crate-type = \[.*\]', b'crate-type = ["lib"]', content)
            # Mutants, and what sees them.
            tests = ("tests/cuda/", "tests/common/", "tests/ops/", "tests/emulator/")
            if name.startswith(("kernels/", "src/backend/cuda/", "src/methods/", *tests)):
                digest.update(f"{name} {len(content)}\n".encode() + content)
            place = self.root / name
            if not place.is_file() or place.read_bytes() != content:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content)
        for place in [place for place in self.root.rglob("*") if place.is_file()]:
            if str(place.relative_to(self.root)) not in names:
                place.unlink()
        return digest.hexdigest()

    def build(self):
        """The program, or None and what the compiler says."""
        # The library is built for every fault of the host side, and does little work of its own here.
        command = ["cargo", "test", "--release", "--locked", "--no-default-features", "--features", "cuda", "-p", "inctrl",
                   "--config", "profile.release.package.inctrl.opt-level=0", "--test", "cuda", "--no-run", "--message-format=json"]
        env = dict(os.environ, CARGO_TARGET_DIR=str(self.target))
        done = subprocess.run(command, cwd=self.root, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            return None, done.stderr
        for line in done.stdout.splitlines():
            message = json.loads(line)
            if message.get("executable") and message.get("target", {}).get("name") == "cuda":
                # Under a name that the next build leaves alone.
                path = self.target / "mutants" / "program"
                path.unlink(missing_ok=True)
                shutil.copy2(message["executable"], path)
                return path, ""
        sys.exit("mutants: cargo built no tests of the CUDA backend")

    def run(self, program, tests, **variables):
        """Runs some of the tests: None if they pass, otherwise the first sign of the fault."""
        env = dict(os.environ, INCTRL_REQUIRE_GPU="1", **variables)
        env.pop("INCTRL_GPU", None)
        # One at a time: a line on stderr then belongs to the test before it.
        limit = str(self.limits.get(tuple(tests), 3600))
        command = ["sh", "-c", 'ulimit -t "$0"; exec "$@"', limit, str(program), *tests, "--test-threads=1"]
        done = subprocess.run(command, cwd=self.root, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              errors="replace")
        if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
            return "the tests do not end"
        if "no device to test" in done.stdout:
            sys.exit(f"mutants: the emulator was not built:\n{done.stdout[-3000:]}")
        if done.returncode == 0:
            if not re.search(r"test result: ok\. [1-9]", done.stdout):
                sys.exit(f"mutants: no CUDA test ran:\n{done.stdout[-2000:]}")
            return None
        lines = done.stdout.splitlines()
        emulator = [match[0] for line in lines if (match := re.search(r"emulator: .*", line))]
        failed = [match[1] for line in lines if (match := re.match(r"test (\S+) \.\.\. FAILED", line))]
        if done.returncode < 0 and emulator:
            return re.sub(r"0x[0-9a-f]+", "0x...", emulator[-1])
        if done.returncode > 0 and failed:
            return "failed: " + ", ".join(name.rsplit("::", 1)[1] for name in failed)
        return f"signal {-done.returncode}" if done.returncode < 0 else "no output"

    def first_sign(self, program, mutant, **variables):
        stem = mutant.path.stem
        operation = OWN_TESTS.get(stem, stem)
        own = [[f"ops::{operation}::"]] if operation in OPERATIONS else []
        # Where nothing can be seen, the first stage is enough to show a proof that is wrong.
        stages = STAGES[:1] if proof_of(mutant) else STAGES
        for tests in [*own, *stages]:
            if (sign := self.run(program, tests, **variables)) is not None:
                return sign
        return None

    def check(self, program):
        """Runs all tests without a fault, and sets how long those of a mutant may take."""
        for tests in [[f"ops::{name}::"] for name in OPERATIONS] + list(STAGES):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            if (sign := self.run(program, tests)) is not None:
                sys.exit(f"mutants: the tests fail without a fault: {sign}")
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            self.limits[tuple(tests)] = int(PATIENCE * seconds) + 20


class Journal:
    """What mutants of these sources came to."""

    def __init__(self, path, digest):
        self.path, self.digest, self.lock = path, digest, threading.Lock()
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        known = [json.loads(line) for line in lines if line.endswith("}")]
        self.known = {entry["key"]: entry for entry in known}

    def key(self, mutant):
        return hashlib.sha256(f"{self.digest} {mutant.name} {mutant.text}".encode()).hexdigest()

    def find(self, mutant):
        return self.known.get(self.key(mutant))

    def note(self, mutant, sign, seconds):
        entry = {"key": self.key(mutant), "mutant": mutant.name, "sign": sign, "seconds": round(seconds, 1)}
        with self.lock, self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        return entry


def proof_of(mutant):
    """The outcome of a mutant that no test here can see, and why; or None."""
    for result, table in (("equivalent", EQUIVALENT), ("unmodelled", UNMODELLED)):
        for name, kind, before, after, proof in table:
            if (name, kind) == (mutant.path.name, mutant.kind) and before in mutant.context and after in mutant.after:
                return result, proof
    return None


def outcome(mutant, found):
    relative = str(mutant.path.relative_to(ROOT))
    sign = found["sign"]
    result, reason = ("caught", None) if sign is not None else proof_of(mutant) or ("survived", None)
    entry = {"file": relative, "line": mutant.line, "kind": mutant.kind, "before": mutant.before, "after": mutant.after}
    return {**entry, "outcome": result, "sign": sign, "proof": reason, "seconds": found["seconds"]}


def try_kernel(mutant, tests, program, journal):
    with tempfile.TemporaryDirectory() as scratch:
        kernels = pathlib.Path(scratch) / "kernels"
        shutil.copytree(tests.root / "kernels", kernels)
        (kernels / mutant.path.name).write_text(mutant.text, encoding="utf-8")
        began = time.monotonic()
        sign = tests.first_sign(program, mutant, INCTRL_EMULATOR_KERNELS=str(kernels))
        return outcome(mutant, journal.note(mutant, sign, time.monotonic() - began))


def try_host(mutant, tests, journal):
    place = tests.root / mutant.path.relative_to(ROOT)
    right = place.read_text(encoding="utf-8")
    place.write_text(mutant.text, encoding="utf-8")
    began = time.monotonic()
    try:
        program, errors = tests.build()
        if program is None:
            sys.exit(f"mutants: {mutant.name} does not compile:\n{errors[-3000:]}")
        return outcome(mutant, journal.note(mutant, tests.first_sign(program, mutant), time.monotonic() - began))
    finally:
        place.write_text(right, encoding="utf-8")


def write(entries, commit):
    counts = {}
    for entry in entries:
        file = counts.setdefault(entry["file"], dict.fromkeys(OUTCOMES, 0))
        file[entry["outcome"]] += 1
    RESULTS.mkdir(parents=True, exist_ok=True)
    table = {"commit": commit, "counts": counts, "mutants": entries}
    (RESULTS / "mutants.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    rows = ["| file | mutants | " + " | ".join(OUTCOMES) + " |", "|---|---|" + "---|" * len(OUTCOMES)]
    totals = {key: sum(file[key] for file in counts.values()) for key in OUTCOMES}
    for file, count in [*sorted(counts.items()), ("**all**", totals)]:
        rows.append(f"| {file} | {sum(count.values())} | " + " | ".join(str(count[key]) for key in OUTCOMES) + " |")
    text = ["# Mutants of the CUDA backend", "", "Made by `scripts/mutants.py`; every one is in `mutants.json`.", "", *rows, ""]
    for result, title in (("equivalent", "Equivalent"), ("unmodelled", "Wrong in a way that the emulator does not model"),
                          ("survived", "Survived")):
        chosen = [entry for entry in entries if entry["outcome"] == result]
        if chosen:
            text += [f"## {title}", "", "| place | kind | line | proof |", "|---|---|---|---|"]
            for e in chosen:
                line = e["before"].replace("|", "\\|")
                text.append(f"| {e['file']}:{e['line']} | {e['kind']} | `{line}` | {e['proof'] or ''} |")
            text.append("")
    (RESULTS / "mutants.md").write_text("\n".join(text), encoding="utf-8")


def run_all(kernels, hosts, tests, journal, jobs, note):
    program, errors = tests.build()
    if program is None:
        sys.exit(f"mutants: the tests do not compile:\n{errors}")
    tests.check(program)
    built = tests.target / "tmp" / "emulator"
    before = {place for place in [*built.iterdir(), *(built / "objects").iterdir()]}
    try:
        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            for done in concurrent.futures.as_completed([pool.submit(try_kernel, m, tests, program, journal) for m in kernels]):
                note(done.result())
        for mutant in hosts:
            note(try_host(mutant, tests, journal))
    finally:
        for place in {*built.iterdir(), *(built / "objects").iterdir()} - before:
            shutil.rmtree(place) if place.is_dir() else place.unlink()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kernels", action="store_true", help="only the mutants of kernels")
    parser.add_argument("--host", action="store_true", help="only the faults of the host side")
    parser.add_argument("--only", default="", help="mutants whose description has this text")
    parser.add_argument("--jobs", type=int, default=2, help="kernel mutants at a time")
    parser.add_argument("--list", action="store_true", help="print the mutants, run none")
    parser.add_argument("--check", action="store_true", help="check that the lists fit the sources, run none")
    arguments = parser.parse_args()
    if wrong := list(misfits()):
        sys.exit("\n".join(["mutants: mutant_faults.py and the tables here do not fit the sources:", *wrong]))
    if arguments.check:
        # Those that only the device executes have a run of their own, scripts/ptx-check.sh --faults.
        if wrong := list(device_faults.misfits()):
            sys.exit("\n".join(["mutants: ptx/faults.py does not fit the sources:", *wrong]))
        print(f"mutants: {len(list(kernel_mutants()))} of kernels, {len(HOST_FAULTS)} of the host side and "
              f"{len(device_faults.FAULTS)} of the device's code, each in one place")
        return
    both = arguments.kernels == arguments.host
    kernels = [m for m in kernel_mutants() if arguments.only in m.name] if both or arguments.kernels else []
    hosts = [m for m in host_mutants() if arguments.only in m.name] if both or arguments.host else []
    if arguments.list:
        for mutant in [*kernels, *hosts]:
            print(mutant.name)
        return
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True).stdout.strip()
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
    tests = Program(target)
    journal = Journal(target / "mutants" / "journal.jsonl", tests.digest)
    entries, total = [], len(kernels) + len(hosts)

    def note(entry):
        entries.append(entry)
        print(f"{len(entries)}/{total} {entry['outcome']}: {entry['file']}:{entry['line']} {entry['kind']}"
              f" [{entry['sign'] or entry['proof'] or entry['before']}]", flush=True)

    # What survived is tried again: the lists of proofs may have changed what is run.
    done = [m for m in [*kernels, *hosts] if (found := journal.find(m)) and (found["sign"] or proof_of(m))]
    for mutant in done:
        note(outcome(mutant, journal.find(mutant)))
    kernels, hosts = ([m for m in mutants if m not in done] for mutants in (kernels, hosts))
    if kernels or hosts:
        run_all(kernels, hosts, tests, journal, arguments.jobs, note)
    entries.sort(key=lambda e: (e["file"], e["line"], e["kind"], e["after"]))
    if both and not arguments.only:
        write(entries, commit)
    survived = [e for e in entries if e["outcome"] == "survived"]
    print(f"{len(entries)} mutants, {len(survived)} survived")
    sys.exit(1 if survived else 0)


if __name__ == "__main__":
    main()
