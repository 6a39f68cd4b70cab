#!/usr/bin/env bash
# Everything that only a GPU can show, on a machine with nothing but a driver and cuBLAS: correctness, memory checkers,
# determinism, then speed beside PyTorch where it is there. Writes one JSON file.
#
#   on the machine that builds:   cargo build --release && cargo test --release --test cuda --no-run
#                                 scripts/gpu-suite.sh pack FOLDER         copies the binaries, stripped
#   on the machine with a GPU:    scripts/gpu-suite.sh run FOLDER OUT      OUT/gpu.json and the logs
#   anywhere after the tests ran: scripts/gpu-suite.sh rehearse FOLDER OUT the same steps with a tiny model on the emulator,
#                                 to see that they work; its times mean nothing
#
# Weights are made there from a seed. cuBLAS must be found: LD_LIBRARY_PATH, or the folder of a pip-installed one is used.
set -euo pipefail
cd "$(dirname "$0")/.."

die() { echo "gpu-suite: $*" >&2; exit 1; }

pack() {
    local folder=$1 tests
    mkdir -p "$folder"
    tests=$(cargo test --release --test cuda --no-run --message-format=json 2>/dev/null |
        python3 -c 'import json,sys
for line in sys.stdin:
    m = json.loads(line)
    if m.get("reason") == "compiler-artifact" and m["target"]["name"] == "cuda" and m.get("executable"): print(m["executable"])' | tail -n 1)
    [ -x "$tests" ] || die "the test binary was not built"
    cp target/release/inctrl "$folder/inctrl"
    cp "$tests" "$folder/cuda"
    strip "$folder/inctrl" "$folder/cuda"
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

# What a machine with a GPU has, and the sizes that are measured.
on_gpu() {
    command -v nvidia-smi >/dev/null || die "no nvidia-smi: this is no machine with an NVIDIA GPU"
    local found
    found=$(python3 -c 'import nvidia, pathlib
for root in nvidia.__path__:
    for lib in pathlib.Path(root).glob("*/lib"): print(lib, end=":")' 2>/dev/null || true)
    export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:-}:$found"
    export INCTRL_GPU=1
    nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.mem,power.limit --format=csv,noheader | tee "$out/gpu.txt"
    model=(--arch vit-b-16-plus-240)
    bench=(--batches 1,8,64 --prompts 8,256 --seconds 8 --frames 3000)
    tuned=(--batches 1,8,64 --prompts 8 --seconds 8 --frames 3000)
}

on_emulator() {
    local library
    # shellcheck disable=SC2012
    library=$(ls -t target/tmp/emulator/*/libcuda.so 2>/dev/null | head -n 1)
    [ -n "$library" ] || die "no emulator: run cargo test --release --test cuda first"
    INCTRL_EMULATOR=$(cd "$(dirname "$library")" && pwd)
    export INCTRL_EMULATOR LD_LIBRARY_PATH=$INCTRL_EMULATOR XDG_CACHE_HOME=$out/cache
    echo "rehearsal on the emulator" | tee "$out/gpu.txt"
    echo '{"embed_dim": 32, "vision_cfg": {"image_size": 80, "patch_size": 16, "width": 128, "layers": 3},
        "text_cfg": {"width": 16, "heads": 2, "layers": 1}, "inctrl": {"taps": [1, 2]}}' >"$out/tiny.json"
    model=(--config "$out/tiny.json")
    # Peaks are measured by products that an emulator does not finish.
    bench=(--no-operations --batches 1,2 --prompts 1 --gaps 0 --seconds 1 --frames 3 --size 64x48)
    tuned=("${bench[@]:1}")
    batches=(--batches 1)
}

run() {
    local bin machine=$3
    bin=$(cd "$1" && pwd)
    mkdir -p "$2"
    out=$(cd "$2" && pwd)
    local model=() bench=() tuned=() batches=()
    "$machine"
    # The program beside the tests, not the one of the machine that built them.
    export INCTRL_REQUIRE_GPU=1 INCTRL_PROGRAM=$bin/inctrl

    # Tests of the device are called cuda_; the others are the emulator's own, which needs its sources.
    step correctness "$bin/cuda" cuda_ --test-threads 1 --nocapture
    if command -v compute-sanitizer >/dev/null && [ "$machine" = on_gpu ]; then
        for tool in memcheck racecheck initcheck synccheck; do
            step "$tool" compute-sanitizer --tool "$tool" --error-exitcode 9 --kernel-name-exclude kernel_substring=cutlass \
                "$bin/cuda" ops::cuda_ --test-threads 1
        done
    else
        echo "SKIP: no compute-sanitizer"
    fi
    step weights "$bin/inctrl" weights random "${model[@]}" --seed 1 --dtype f16 -o "$out/random.safetensors"
    step tune "$bin/inctrl" tune --weights "$out/random.safetensors" "${batches[@]}" -o "$out/algorithms.json"
    step bench "$bin/inctrl" bench --weights "$out/random.safetensors" --device cuda:0 "${bench[@]}" --json "$out/bench.json"
    step bench_tuned "$bin/inctrl" bench --weights "$out/random.safetensors" --device cuda:0 "${tuned[@]}" --no-operations \
        --algorithms "$out/algorithms.json" --json "$out/bench_tuned.json"
    if [ "$machine" = on_gpu ] && python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
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
    run) [ $# = 3 ] || die "usage: gpu-suite.sh run FOLDER OUT"; run "$2" "$3" on_gpu ;;
    rehearse) [ $# = 3 ] || die "usage: gpu-suite.sh rehearse FOLDER OUT"; run "$2" "$3" on_emulator ;;
    *) die "usage: gpu-suite.sh pack FOLDER | run FOLDER OUT | rehearse FOLDER OUT" ;;
esac
