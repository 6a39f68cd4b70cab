#!/usr/bin/env bash
# The Python package: builds the wheel of crates/python, installs it into a new virtual environment and runs its tests there.
#
#     scripts/wheel.sh [--manylinux] [FOLDER]      the wheel goes into FOLDER (target/wheels)
#
# --manylinux links with zig against the oldest C library that the toolchain knows (manylinux2014, glibc 2.17), for machines other
# than this one. Needs Python 3.10 or newer (INCTRL_PYTHON names it) and maturin, which is fetched where pip can: without them it
# says SKIP, or fails where INCTRL_REQUIRE_PYTHON=1. The tests need pytest, and take what there is of pillow, scikit-learn, mypy,
# matplotlib and Ray. INCTRL_PYTHONS names further interpreters, each of which runs the tests in an environment of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -f "$HOME/.cargo/env" ] && . "$HOME/.cargo/env"

skip() {
    echo "SKIP: $*"
    [ "${INCTRL_REQUIRE_PYTHON:-}" = 1 ] && exit 1
    exit 0
}

manylinux=
[ "${1:-}" = --manylinux ] && manylinux=1 && shift
out=$(realpath -m "${1:-target/wheels}")

python=
for name in ${INCTRL_PYTHON:-python3 python3.13 python3.12 python3.11 python3.10}; do
    if "$name" -c 'import sys, venv; sys.exit(sys.version_info < (3, 10))' > /dev/null 2>&1; then python=$name && break; fi
done
[ -n "$python" ] || skip "no Python of 3.10 or newer"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m venv "$work/build"
tools=("maturin>=1.9,<2")
[ -z "$manylinux" ] || tools+=(ziglang)
"$work/build/bin/pip" install --quiet --disable-pip-version-check "${tools[@]}" || skip "maturin cannot be had"

"$python" scripts/third_party.py crates/python/licenses/THIRD-PARTY
build=(--release --locked --manifest-path crates/python/Cargo.toml --out "$work/wheel")
if [ -n "$manylinux" ]; then
    build+=(--zig --compatibility manylinux2014)
else
    build+=(--compatibility linux)
fi
PATH="$work/build/bin:$PATH" "$work/build/bin/maturin" build "${build[@]}"
wheel=$(echo "$work"/wheel/*.whl)

# From another folder: what is tested is what was installed.
tests=$PWD/crates/python/tests
check() {
    local fresh extra
    fresh=$(mktemp -d -p "$work")
    "$1" -m venv "$fresh"
    local pip=("$fresh/bin/pip" install --quiet --disable-pip-version-check)
    "${pip[@]}" "numpy>=1.23" || skip "numpy cannot be had"
    "${pip[@]}" "$wheel"
    site=$("$fresh/bin/python" -c 'import inctrl, os; print(os.path.dirname(inctrl.__file__))')
    du -sk "$site" | awk '{ printf "installed: %.1f MB beside numpy\n", $1 / 1000; exit $1 > 30000 }'

    "${pip[@]}" pytest || skip "pytest cannot be had"
    # Wheels alone: nothing here is worth a compiler's time.
    for extra in pillow scikit-learn mypy matplotlib "ray[data]" pandas; do
        "${pip[@]}" --only-binary :all: "$extra" || echo "SKIP: $extra cannot be had, and what it tests is left out"
    done
    (cd "$work" && "$fresh/bin/python" -m pytest -q -rs -p no:cacheprovider -c "$tests/pytest.ini" "$tests")
}
for interpreter in "$python" ${INCTRL_PYTHONS:-}; do
    "$interpreter" --version
    check "$interpreter"
done

mkdir -p "$out"
cp "$wheel" "$out"
echo "$out/$(basename "$wheel")"
