#!/usr/bin/env bash
# Everything that only a GPU can show, on a machine with nothing but a driver and cuBLAS: correctness, memory checkers,
# determinism, then speed beside PyTorch where it is there. Writes one JSON file.
#
#   on the machine that builds:   cargo build --release && cargo test --release --test it --no-run
#                                 scripts/gpu-suite.sh pack FOLDER       copies the binaries, stripped
#   on the machine with a GPU:    scripts/gpu-suite.sh run FOLDER OUT    OUT/gpu.json and the logs
#
# Weights are made there from a seed. cuBLAS must be found: LD_LIBRARY_PATH, or the folder of a pip-installed one is used.
set -euo pipefail
cd "$(dirname "$0")/.."

die() { echo "gpu-suite: $*" >&2; exit 1; }

pack() {
    local folder=$1 tests
    mkdir -p "$folder"
    tests=$(cargo test --release --test it --no-run --message-format=json 2>/dev/null |
        python3 -c 'import json,sys
for line in sys.stdin:
    m = json.loads(line)
    if m.get("reason") == "compiler-artifact" and m["target"]["name"] == "it" and m.get("executable"): print(m["executable"])' | tail -n 1)
    [ -x "$tests" ] || die "the test binary was not built"
    cp target/release/inctrl "$folder/inctrl"
    cp "$tests" "$folder/it"
    strip "$folder/inctrl" "$folder/it"
}

# A step's name, then its command: its output goes into a log, its outcome into the summary.
declare -A outcome
step() {
    local name=$1 begin
    shift
    begin=$(date +%s)
    echo "== $name"
    if "$@" >"$out/$name.log" 2>&1; then outcome[$name]=passed; else outcome[$name]=failed; fi
    echo "   ${outcome[$name]} in $(($(date +%s) - begin)) s"
    [ "${outcome[$name]}" = passed ] || tail -n 20 "$out/$name.log"
}

run() {
    local bin=$1
    out=$2
    mkdir -p "$out"
    command -v nvidia-smi >/dev/null || die "no nvidia-smi: this is no machine with an NVIDIA GPU"
    local found
    found=$(python3 -c 'import nvidia, pathlib
for root in nvidia.__path__:
    for lib in pathlib.Path(root).glob("*/lib"): print(lib, end=":")' 2>/dev/null || true)
    export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:-}:$found"
    export INCTRL_GPU=1 INCTRL_REQUIRE_GPU=1
    nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.mem,power.limit --format=csv,noheader | tee "$out/gpu.txt"

    step correctness "$bin/it" cuda --test-threads 1 --nocapture
    if command -v compute-sanitizer >/dev/null; then
        for tool in memcheck racecheck initcheck synccheck; do
            step "$tool" compute-sanitizer --tool "$tool" --error-exitcode 9 --kernel-name-exclude kernel_substring=cutlass \
                "$bin/it" cuda::ops --test-threads 1
        done
    else
        echo "SKIP: no compute-sanitizer"
    fi
    step weights "$bin/inctrl" weights random --arch vit-b-16-plus-240 --seed 1 --dtype f16 -o "$out/random.safetensors"
    step tune "$bin/inctrl" tune --weights "$out/random.safetensors" -o "$out/algorithms.json"
    step bench "$bin/inctrl" bench --weights "$out/random.safetensors" --device cuda:0 --batches 1,8,64 --prompts 8,256 \
        --seconds 8 --frames 3000 --json "$out/bench.json"
    step bench_tuned "$bin/inctrl" bench --weights "$out/random.safetensors" --device cuda:0 --batches 1,8,64 --prompts 8 \
        --algorithms "$out/algorithms.json" --no-operations --seconds 8 --frames 3000 --json "$out/bench_tuned.json"
    if python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
        step torch python3 scripts/bench_torch.py --json "$out/torch.json"
    else
        echo "SKIP: no PyTorch with CUDA"
    fi
    for name in "${!outcome[@]}"; do echo "$name ${outcome[$name]}"; done | sort >"$out/outcomes.txt"
    python3 - "$out" <<'PY'
import json, pathlib, sys
out = pathlib.Path(sys.argv[1])
read = lambda name: json.loads((out / name).read_text()) if (out / name).exists() else None
report = {
    "gpu": (out / "gpu.txt").read_text().strip(),
    "outcomes": dict(line.split() for line in (out / "outcomes.txt").read_text().splitlines()),
    "inctrl": read("bench.json"),
    "inctrl_tuned": read("bench_tuned.json"),
    "torch": read("torch.json"),
}
(out / "gpu.json").write_text(json.dumps(report, indent=1) + "\n")
PY
    rm -f "$out/random.safetensors"
    ! grep -q failed "$out/outcomes.txt" || die "some steps failed; the logs are in $out"
}

case "${1:-}" in
    pack) [ $# = 2 ] || die "usage: gpu-suite.sh pack FOLDER"; pack "$2" ;;
    run) [ $# = 3 ] || die "usage: gpu-suite.sh run FOLDER OUT"; run "$2" "$3" ;;
    *) die "usage: gpu-suite.sh pack FOLDER | gpu-suite.sh run FOLDER OUT" ;;
esac
