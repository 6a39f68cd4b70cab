#!/usr/bin/env bash
# Prints the path of nvcc: $NVCC, the one in CUDA_HOME, or the one of its wheels, which are installed once into the target
# folder. No GPU is needed. Fails with the reason if there is none.
set -euo pipefail
cd "$(dirname "$0")/.."

# The version of benches/results/kernel_resources.json: the number of registers depends on the compiler.
VERSION=13.0

if [ -n "${NVCC:-}" ]; then
    echo "$NVCC"
    exit
elif [ -n "${CUDA_HOME:-}" ]; then
    echo "$CUDA_HOME/bin/nvcc"
    exit
fi
folder=${CARGO_TARGET_DIR:-$PWD/target}/nvcc-$VERSION
if [ ! -d "$folder" ]; then
    mkdir -p "$(dirname "$folder")"
    scratch=$(mktemp -d "$folder.XXXXXX")
    trap 'rm -rf "$scratch"' EXIT
    wheels=()
    for part in cuda-nvcc cuda-runtime cuda-cccl nvvm cuda-crt; do wheels+=("nvidia-$part==$VERSION.*"); done
    if ! timeout 600 python3 -m pip install --quiet --disable-pip-version-check --target "$scratch" "${wheels[@]}" \
        2>"$scratch/log" >&2; then
        tail -n 3 "$scratch/log" >&2
        echo "no nvcc, and its wheels cannot be had on this machine: set NVCC or CUDA_HOME" >&2
        exit 1
    fi
    # Whole, or not there; another run may have been faster.
    mv -T "$scratch" "$folder" 2>/dev/null || [ -d "$folder" ]
fi
find "$folder" -path '*/bin/nvcc' -type f | head -n 1
