#!/usr/bin/env bash
# All checks that need a GPU, in one call of at most seven minutes: see scripts/gpu_suite.py.
#   gpu-suite.sh pack FOLDER | run FOLDER OUT | rehearse OUT [FOLDER]
exec python3 "$(dirname "$0")/gpu_suite.py" "$@"
