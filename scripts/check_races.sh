#!/usr/bin/env bash
# Runs eight threads that score while banks are replaced (tests/traffic.rs) under ThreadSanitizer, which reports unordered
# accesses to the same memory. The standard library is built with it too, so that its locks and counters are known.
#
#     rustup toolchain install nightly --component rust-src
#     scripts/check_races.sh [frames]
#
# Takes minutes, nearly all of them for compiling.
set -euo pipefail
cd "$(dirname "$0")/.."
frames=${1:-2000}
toolchain=${INCTRL_NIGHTLY:-nightly}
source=$(rustc "+$toolchain" --print sysroot 2> /dev/null)/lib/rustlib/src/rust/library/std
if ! [ -d "$source" ]; then
    echo "SKIP: no toolchain \`$toolchain\` with rust-src, which ThreadSanitizer needs"
    exit 0
fi
target=$(rustc "+$toolchain" -vV | sed -n 's/^host: //p')
export RUSTFLAGS="-Zsanitizer=thread" CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target/races}
# A race found is an exit status, at the first one.
export TSAN_OPTIONS="halt_on_error=1 ${TSAN_OPTIONS:-}"
INCTRL_FRAMES=$frames cargo "+$toolchain" test -Zbuild-std --target "$target" --release --locked --no-default-features -p inctrl \
    --test traffic -- --nocapture
echo "no race found"
