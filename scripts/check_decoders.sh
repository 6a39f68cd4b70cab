#!/usr/bin/env bash
# Feeds mutated pictures to the decoders (tests/it/fuzz.rs) under AddressSanitizer. The C code of JPEG also runs under the
# undefined behaviour sanitizer, and Rust checks its arithmetic.
#
#     rustup toolchain install nightly
#     INCTRL_FUZZ_SECONDS=600 INCTRL_FUZZ_SEED=7 scripts/check_decoders.sh
#
# A finding ends the test with a report; its input is in $TMPDIR/inctrl-decoders-picture. Building takes minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
toolchain=${INCTRL_NIGHTLY:-nightly}
if ! target=$(rustc "+$toolchain" -vV 2> /dev/null | sed -n 's/^host: //p'); then
    echo "SKIP: no toolchain \`$toolchain\`, which AddressSanitizer needs"
    exit 0
fi
export RUSTFLAGS="-Zsanitizer=address -Coverflow-checks=on" CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target/decoders}
# Undefined behaviour is a trap, as its reports would need the C compiler's own runtime.
export CFLAGS="-fsanitize=address,undefined -fsanitize-undefined-trap-on-error -fno-omit-frame-pointer"
export INCTRL_FUZZ_LAST=${TMPDIR:-/tmp}/inctrl-decoders
export ASAN_OPTIONS="handle_sigill=1 ${ASAN_OPTIONS:-}"
cargo "+$toolchain" test --target "$target" --release --locked -p inctrl --no-default-features --features libjpeg --test it fuzz::pictures \
    -- --nocapture
echo "no fault found"
