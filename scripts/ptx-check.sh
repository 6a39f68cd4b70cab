#!/usr/bin/env bash
# Runs the PTX of every kernel on the CPU and compares the results with references in f64: see scripts/ptx. No GPU is needed.
#
#     scripts/ptx-check.sh [--only TEXT]   every kernel, or those whose name has TEXT
#     scripts/ptx-check.sh --ptx FILE      this file of PTX instead of nvcc's, such as NVRTC's from a program's cache
#     scripts/ptx-check.sh --faults        plants the faults of scripts/ptx/faults.py; each must be detected
#
# Needs nvcc (scripts/nvcc.sh) and numpy, which is installed into the target folder if Python does not have it.
set -euo pipefail
cd "$(dirname "$0")/.."

refuse() {
    echo "SKIP: $*: the PTX of the kernels was NOT run"
    # A machine that checks what others rely on must not pass without.
    [ -z "${INCTRL_REQUIRE_NVCC:-}" ] || exit 1
    exit 0
}

export PYTHONPATH=$PWD/scripts PIP_ROOT_USER_ACTION=ignore
if ! python3 -c 'import numpy' 2> /dev/null; then
    folder=${CARGO_TARGET_DIR:-$PWD/target}/numpy
    [ -d "$folder/numpy" ] || timeout 300 python3 -m pip install --quiet --disable-pip-version-check --target "$folder" numpy ||
        refuse "no numpy, and it cannot be had"
    export PYTHONPATH=$PYTHONPATH:$folder
fi
nvcc=$(scripts/nvcc.sh) || refuse "no nvcc"
# Each process has one thread of its own: two of them run at a time.
export NVCC=$nvcc OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1
python3 -m unittest --quiet ptx.selftest ptx.refusals
exec python3 -m ptx "$@"
