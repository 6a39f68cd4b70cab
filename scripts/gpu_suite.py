#!/usr/bin/env python3
"""All checks that need a GPU, in one call of at most seven minutes. `scripts/gpu-suite.sh` runs this file.

    gpu-suite.sh pack FOLDER             on a machine with Rust: builds with nvcc and packs the three programs, 40 MB at most
    gpu-suite.sh run FOLDER OUT          on a machine with a GPU: the steps below, in order
    gpu-suite.sh rehearse OUT [FOLDER]   the same order with a tiny model on the emulator, and a step that hangs; after
                                         cargo test, or with the programs of a pack; times mean nothing

Each step ends within its own timeout, whatever it does, and what it found is written at once: OUT/results.tar holds a
JSON file for each step, with the end of its output, and OUT/summary.md one page. Weights are made there from a seed.
Needs Python 3.12 alone; a step whose tool is missing (PyTorch, compute-sanitizer) is skipped, and the page says so.
"""

import dataclasses
import json
import lzma
import os
import pathlib
import re
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Seconds of all steps together, and bytes of a pack.
LIMIT = 7 * 60
MOST_BYTES = 40_000_000
# The first bytes of a fat binary: a magic number, version 1, a header of 16 bytes. Then come the bytes of its entries.
FATBIN = bytes.fromhex("50ed55ba01001000")
# Kinds of entries.
PTX, CODE = 1, 2
# The CUDA version of .ci/kernels.
CUDA = "13.0"
# The command line, the tests of the engine and those of the command line.
PROGRAMS = ("inctrl", "cuda", "commands")
# Kernels of the libraries on Hopper, which are not ours to check.
LIBRARY_KERNELS = ["nvjet", "cublas", "cutlass"]

SMALL = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 80, "patch_size": 16, "width": 128, "layers": 3},
    "text_cfg": {"width": 16, "heads": 2, "layers": 1},
    "inctrl": {"taps": [1, 2]},
}


@dataclasses.dataclass
class Step:
    """A name, seconds, commands one after the other, files they write, and why it is left out (empty if it is not)."""

    name: str
    timeout: float
    commands: list
    files: tuple = ()
    missing: str = ""


def die(message):
    sys.exit(f"gpu-suite: {message}")


def steps(machine):
    """The order: first whether it runs and is right, then what only a GPU knows, then speed, then the slow checkers."""
    program, tests, commands, work = machine.program, machine.tests, machine.commands, machine.work
    weights, small = work / "random.safetensors", work / "small.safetensors"
    make = lambda model, to: [program, "weights", "random", *model, "--seed", "1", "--dtype", "f16", "-o", to]
    test = lambda program, *names: [program, *names, "--test-threads", "1", "--nocapture"]
    bench = [program, "bench", "--device", "cuda:0", "--gaps", "0", "--weights"]
    checked = [*bench, small, "--no-operations", "--batches", "2", "--prompts", "1", "--frames", "2", "--seconds", "1"]
    exclude = [part for name in LIBRARY_KERNELS for part in ("--kernel-name-exclude", f"kernel_substring={name}")]
    sanitizer = lambda tool: [
        ["compute-sanitizer", "--tool", tool, "--error-exitcode", "9", *exclude, *checked, "--size", "64x48"]
    ]
    no_checker = "" if machine.checker else "no compute-sanitizer"
    return [
        Step("weights", 15, [make(machine.model, weights), make(["--config", machine.config(SMALL)], small)]),
        Step("correct", 80, [test(tests, *machine.correct)]),
        Step("commands", 20, [test(commands, *machine.checked_commands)]),
        Step(
            "preferences",
            15,
            [[program, "tune", "--weights", weights, *machine.batches, "--list", "-o", work / "preferred.json"]],
            ("preferred.json",),
        ),
        Step("invariance", 55, [test(tests, *machine.invariance)]),
        Step(
            "tune",
            45,
            [[program, "tune", "--weights", weights, *machine.batches, "-o", work / "algorithms.json"]],
            ("algorithms.json",),
        ),
        Step("bench", 50, [[*bench, weights, *machine.bench, *machine.operations, "--json", work / "bench.json"]], ("bench.json",)),
        Step(
            "fast",
            35,
            [[*bench, weights, *machine.bench, "--no-operations", "--fast", "--json", work / "fast.json"]],
            ("fast.json",),
        ),
        Step(
            "torch",
            50,
            [[sys.executable, ROOT / "scripts" / "bench_torch.py", "--json", work / "torch.json"]],
            ("torch.json",),
            "" if machine.torch else "no PyTorch with CUDA",
        ),
        Step("memcheck", 25, sanitizer("memcheck"), (), no_checker),
        Step("racecheck", 25, sanitizer("racecheck"), (), no_checker),
    ]


class Machine:
    """Where the programs are, and what differs between a GPU and the emulator."""

    def __init__(self, program, tests, commands, work):
        self.program, self.tests, self.commands, self.work = program, tests, commands, work
        # The program beside the tests, not the one of the machine that built them.
        self.environment = os.environ | {"INCTRL_REQUIRE_GPU": "1", "INCTRL_PROGRAM": str(program)}
        self.checker = self.torch = False
        self.operations = []

    def config(self, config):
        path = self.work / "small.json"
        path.write_text(json.dumps(config))
        return path


class Gpu(Machine):
    def __init__(self, *programs_and_work):
        super().__init__(*programs_and_work)
        if not shutil.which("nvidia-smi"):
            die("nvidia-smi is missing: this machine has no NVIDIA GPU")
        query = ["nvidia-smi", "--query-gpu=name,driver_version,clocks.sm,clocks.mem,power.limit", "--format=csv,noheader"]
        self.about = subprocess.run(query, capture_output=True, text=True, timeout=10).stdout.strip()
        folders = [str(lib) for path in map(pathlib.Path, sys.path) for lib in path.glob("nvidia/*/lib")]
        given = [os.environ["LD_LIBRARY_PATH"]] if os.environ.get("LD_LIBRARY_PATH") else []
        self.environment |= {"LD_LIBRARY_PATH": ":".join(given + folders), "INCTRL_GPU": "1"}
        self.checker = shutil.which("compute-sanitizer") is not None
        self.torch = any((path / "torch").is_dir() for path in map(pathlib.Path, sys.path))
        self.model = ["--arch", "vit-b-16-plus-240"]
        # Tests of the device are called cuda_; the others are the emulator's own.
        self.correct = ["cuda_", "--skip", "cuda_a_model_of_real_size"]
        self.checked_commands = ["cuda_"]
        self.invariance = ["cuda_a_model_of_real_size"]
        self.batches = ["--batches", "1,8,64"]
        self.bench = ["--batches", "1,8,64", "--prompts", "8,256", "--seconds", "4", "--frames", "3000"]


class Emulator(Machine):
    def __init__(self, *programs_and_work):
        work = programs_and_work[-1]
        super().__init__(*programs_and_work)
        self.about = "rehearsal on the emulator"
        # Those that lack functions, for tests, have a list of exports; sanitised ones need a library before all others.
        folders = [path.parent for path in (ROOT / "target/tmp/emulator").glob("*/libcuda.so")]
        whole = [f for f in folders if not (f / "exports").exists() and b"__asan_init" not in (f / "libcuda.so").read_bytes()]
        if not whole:
            die("the emulator is missing: run cargo test --release --test cuda first")
        folder = str(max(whole, key=lambda folder: folder.stat().st_mtime))
        cache = {"XDG_CACHE_HOME": str(work / "cache")}
        self.environment |= {"INCTRL_EMULATOR": folder, "LD_LIBRARY_PATH": folder} | cache
        self.model = ["--config", str(self.config(SMALL))]
        # The whole of them is what cargo test runs.
        self.correct, self.invariance = ["ops::gelu::"], ["queues::cuda_queued_work"]
        self.checked_commands = ["cuda_two_processes"]
        self.batches = ["--batches", "1"]
        self.bench = ["--batches", "1,2", "--prompts", "1", "--seconds", "1", "--frames", "2", "--size", "64x48"]
        # Peaks are measured by products that an emulator does not finish.
        self.operations = ["--no-operations"]


def perform(step, machine):
    """Runs a step; its report, whatever happens."""
    began, log = time.monotonic(), machine.work / f"{step.name}.log"
    outcome, code = ("skipped", None) if step.missing else ("passed", 0)
    with open(log, "wb") as output:
        for command in [] if step.missing else step.commands:
            command = [str(part) for part in command]
            try:
                # A session of its own, so that what it started ends with it.
                child = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=machine.environment,
                    cwd=machine.work,
                    start_new_session=True,
                )
            except OSError as error:
                outcome = "failed"
                output.write(f"{command[0]}: {error}\n".encode())
                break
            try:
                code = child.wait(max(0.0, step.timeout - (time.monotonic() - began)))
            except subprocess.TimeoutExpired:
                outcome = "cut off"
            finally:
                try:
                    os.killpg(child.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
                child.wait()
            if outcome == "passed" and code != 0:
                outcome = "failed"
            if outcome != "passed":
                break
    found = {}
    for name in step.files:
        try:
            found[name] = json.loads((machine.work / name).read_text())
        except (OSError, ValueError):
            # Not written, or only in part.
            pass
    return {
        "step": step.name,
        "outcome": outcome,
        "missing": step.missing,
        "code": code,
        "seconds": round(time.monotonic() - began, 2),
        "timeout": step.timeout,
        "found": found,
        "output": log.read_text(errors="replace")[-40_000:],
    }


def figures(reports):
    """The lines of the page that compare: latency, throughput, PyTorch."""
    lines = []
    for name in ("bench", "fast"):
        for report in reports.get(name, {}).get("found", {}).values():
            for latency in report.get("latency", []):
                seconds = latency["seconds"]
                ms = {key: f"{1e3 * seconds[key]:.3f}" for key in ("p50", "p99", "max")}
                lines.append(f"- {name}: one frame p50 {ms['p50']} ms, p99 {ms['p99']} ms, max {ms['max']} ms")
            for rate in report.get("throughput", []):
                lines.append(f"- {name}: batches of {rate['batch']}: {rate['images_per_second']:.0f} images/s")
    for report in reports.get("torch", {}).get("found", {}).values():
        for what, times in report.get("encoder_ms", {}).items():
            lines.append(f"- torch {report['torch']}, {what}: p50 {times['p50']:.3f} ms")
    for name in ("preferences", "tune"):
        output = reports.get(name, {}).get("output", "")
        lines += [f"- {name}: {line}" for line in output.splitlines() if line.startswith("a product")][:12]
    return lines


def write(out, machine, reports):
    """The page and the archive, whole at every moment."""
    rows = [f"| {r['step']} | {r['outcome']} | {r['seconds']:.1f} | {r['timeout']} | {r['missing']} |" for r in reports.values()]
    failed = [r for r in reports.values() if r["outcome"] not in ("passed", "skipped")]
    page = [f"# GPU suite: {machine.about}", "", "| step | outcome | s | at most | |", "|---|---|---|---|---|", *rows, ""]
    page += [*figures(reports), ""]
    for report in failed:
        page += [f"## {report['step']} {report['outcome']}", "```", *report["output"].splitlines()[-12:], "```"]
    (machine.work / "summary.md").write_text("\n".join(page) + "\n")
    shutil.copy(machine.work / "summary.md", out / "summary.md.partial")
    os.replace(out / "summary.md.partial", out / "summary.md")
    partial = out / "results.tar.partial"
    with tarfile.open(partial, "w") as archive:
        archive.add(machine.work / "summary.md", "summary.md")
        for name in reports:
            archive.add(machine.work / f"step-{name}.json", f"{name}.json")
    os.replace(partial, out / "results.tar")


def run_all(order, machine, out):
    total = sum(step.timeout for step in order)
    if total > LIMIT:
        die(f"the steps may take {total} s together, at most {LIMIT} s are allowed")
    out.mkdir(parents=True, exist_ok=True)
    reports = {}
    for step in order:
        report = reports[step.name] = perform(step, machine)
        report["machine"] = machine.about
        (machine.work / f"step-{step.name}.json").write_text(json.dumps(report, indent=1) + "\n")
        print(f"{step.name}: {report['outcome']} in {report['seconds']} s {report['missing']}", flush=True)
        write(out, machine, reports)
    return reports


def run(folder, out):
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        machine = Gpu(*unpack(folder, work), work)
        reports = run_all(steps(machine), machine, out)
    print((out / "summary.md").read_text())
    if any(report["outcome"] not in ("passed", "skipped") for report in reports.values()):
        die(f"some steps failed: the results are in {out}/results.tar")


def rehearse(out, folder=None):
    """The order on the emulator, with a step that hangs and leaves a child behind."""
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        machine = Emulator(*(unpack(folder, work) if folder else build(os.environ)), work)
        order = steps(machine)
        total = sum(step.timeout for step in order)
        if total > LIMIT:
            die(f"the steps may take {total} s together, at most {LIMIT} s are allowed")
        mark = work / "child"
        hang = ["sh", "-c", f"echo begun; (sleep 6; touch {mark}) & sleep 600"]
        # In the place of the time that it would take.
        order = [dataclasses.replace(step, timeout=min(step.timeout, 45)) for step in order]
        order.insert(3, Step("hang", 2, [hang]))
        began = time.monotonic()
        reports = run_all(order, machine, out)
        time.sleep(max(0.0, 8 - (time.monotonic() - began)))
        left_behind = mark.exists()
    expected = {step.name: "cut off" if step.name == "hang" else "skipped" if step.missing else "passed" for step in order}
    found = {name: report["outcome"] for name, report in reports.items()}
    with tarfile.open(out / "results.tar") as archive:
        names = set(archive.getnames())
        beheld = json.load(archive.extractfile("hang.json"))["output"].strip()
    if found != expected:
        wrong = [name for name in expected if found.get(name) != expected[name]]
        for name in wrong:
            print(reports[name]["output"][-3000:])
        die(f"rehearsal: {', '.join(f'{name} {found.get(name)}' for name in wrong)}")
    if names != {"summary.md", *(f"{name}.json" for name in expected)} or beheld != "begun":
        die(f"rehearsal: the archive holds {sorted(names)}, and of the step that hangs {beheld!r}")
    if left_behind or reports["hang"]["seconds"] > 5:
        die("rehearsal: a step that hangs was not cut off with all that it started")
    for name, file in (("preferences", "preferred.json"), ("bench", "bench.json"), ("fast", "fast.json")):
        if file not in reports[name]["found"]:
            die(f"rehearsal: {name} passed without {file}")
    print(f"rehearsal passed; on a GPU the steps take at most {total} s")


def build(environment):
    """The program and the tests of the CUDA backend, of the release profile; where cargo put them."""
    tests = ["--test", "cuda", "--test", "commands", "--no-run"]
    command = ["cargo", "test", "--release", "--locked", *tests, "--message-format=json-render-diagnostics"]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        die("the programs were not built")
    found = {}
    for line in done.stdout.splitlines():
        message = json.loads(line)
        # The tests are built with the program that they run.
        if message.get("reason") == "compiler-artifact" and message.get("executable"):
            found[message["target"]["name"]] = pathlib.Path(message["executable"])
    return [found[name] for name in PROGRAMS]


def nvcc(scratch):
    """The machine's nvcc, or that of its wheels, as .ci/kernels has it."""
    if os.environ.get("NVCC") or os.environ.get("CUDA_HOME"):
        return {}
    wheels = [f"nvidia-{part}=={CUDA}.*" for part in ("cuda-nvcc", "cuda-runtime", "cuda-cccl", "nvvm", "cuda-crt")]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", scratch]
    if subprocess.run([*pip, *wheels], timeout=600).returncode != 0:
        die("no nvcc was found, and its wheels cannot be installed: set NVCC or CUDA_HOME")
    found = sorted(pathlib.Path(scratch).glob("**/bin/nvcc"))
    return {"NVCC": str(found[0])} if found else die("the wheels contain no nvcc")


def architectures():
    """The architectures that build.rs compiles for."""
    return [int(sm) for sm in re.search(r"ARCHITECTURES: .* = \[(.*)\];", (ROOT / "build.rs").read_text())[1].split(",")]


def held(content):
    """The complete entries (kind, architecture) in the fat binaries of a program."""
    entries, at = [], content.find(FATBIN)
    while at >= 0:
        entry = at + 16
        size = struct.unpack_from("<Q", content, at + 8)[0] if entry <= len(content) else 0
        end = min(entry + size, len(content))
        while entry + 32 <= end:
            kind, _, header, payload = struct.unpack_from("<HHIQ", content, entry)
            (architecture,) = struct.unpack_from("<I", content, entry + 28)
            entry += header + payload
            if header < 32 or entry > end:
                break
            entries.append((kind, architecture))
        at = content.find(FATBIN, at + 1)
    return entries


def lacking(content):
    """The missing machine code of a program; empty if nothing is missing."""
    entries = held(content)
    if not entries:
        return "holds no machine code for GPUs: it was built without nvcc, or nvcc failed"
    missing = [f"sm_{sm}" for sm in architectures() if (CODE, sm) not in entries]
    if missing:
        return f"holds no machine code for {', '.join(missing)}: this nvcc does not know them; use the one of CUDA {CUDA}"
    return "" if any(kind == PTX for kind, _ in entries) else "holds no PTX for later GPUs"


def shrink(program, to):
    """A program stripped and packed, if it holds machine code."""
    subprocess.run(["strip", "-o", to, program], check=True)
    content = to.read_bytes()
    if what := lacking(content):
        die(f"{program} {what}; nothing was packed")
    return lzma.compress(content, preset=9)


def pack(folder):
    with tempfile.TemporaryDirectory() as scratch:
        # The profile as it is committed, and a folder of its own: another nvcc than that of the usual builds.
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CARGO_PROFILE_")}
        programs = build(kept | {"CARGO_TARGET_DIR": str(ROOT / "target" / "gpu-suite")} | nvcc(scratch))
        packed = {name: shrink(path, pathlib.Path(scratch) / name) for name, path in zip(PROGRAMS, programs)}
    size = sum(map(len, packed.values()))
    if size > MOST_BYTES:
        die(f"the programs take {size / 1e6:.1f} MB, more than {MOST_BYTES / 1e6:.0f} MB; nothing was packed")
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in packed.items():
        (folder / f"{name}.partial").write_bytes(content)
        os.replace(folder / f"{name}.partial", folder / f"{name}.xz")
    print(f"{folder}: {size / 1e6:.1f} MB, machine code for {', '.join(f'sm_{sm}' for sm in architectures())}, and PTX")


def unpack(folder, work):
    """The programs of a pack."""
    for name in PROGRAMS:
        try:
            with lzma.open(folder / f"{name}.xz") as packed, open(work / name, "wb") as program:
                shutil.copyfileobj(packed, program)
        except (OSError, EOFError, lzma.LZMAError) as error:
            die(f"{folder / name}.xz: {error}; pack again")
        (work / name).chmod(0o755)
    return [work / name for name in PROGRAMS]


def main(arguments):
    commands = {("pack", 1): pack, ("run", 2): run, ("rehearse", 1): rehearse, ("rehearse", 2): rehearse}
    name, *paths = arguments or [""]
    command = commands.get((name, len(paths)))
    if not command:
        die("usage: gpu-suite.sh pack FOLDER | run FOLDER OUT | rehearse OUT [FOLDER]")
    command(*(pathlib.Path(path).resolve() for path in paths))


if __name__ == "__main__":
    main(sys.argv[1:])
