#!/usr/bin/env bash
# Builds the release artefacts, without debug information:
#
#     scripts/release.sh OUT
#
# OUT/inctrl-VERSION-TARGET.tar.gz          program, libraries, headers, licences and pages
# OUT/inctrl-VERSION-TARGET-symbols.tar.gz  the debug information, for debuggers and profilers
# OUT/SHA256SUMS                            checksums of both
#
# nvcc (NVCC, CUDA_HOME, PATH, or its wheels from PyPI) compiles the kernels for every GPU. Without it NVRTC compiles them at
# first use, and this script says so.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
[ $# = 1 ] || { echo "usage: $0 OUT" >&2; exit 1; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
MOST_BYTES=12000000
cd "$root"

if [ -z "${NVCC:-}${CUDA_HOME:-}" ] && ! command -v nvcc > /dev/null; then
    if NVCC=$(scripts/nvcc.sh); then
        export NVCC
    else
        unset NVCC
        echo "release: built without nvcc: NVRTC compiles the kernels at first use, which takes a minute" >&2
    fi
fi
# Paths of this machine do not belong into the artefacts.
export RUSTFLAGS="${RUSTFLAGS:-} --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo --remap-path-prefix=$root=/inctrl"
cargo build --release --locked
built=${CARGO_TARGET_DIR:-target}/release
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
name=inctrl-$version-$(rustc -vV | sed -n 's/^host: //p')
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
package=$work/$name
symbols=$work/$name-symbols
mkdir -p "$package/bin" "$symbols" "$work/libraries"

for file in inctrl libinctrl.so; do
    objcopy --only-keep-debug "$built/$file" "$symbols/$file.debug"
    strip --strip-unneeded -o "$work/libraries/$file" "$built/$file"
    (cd "$symbols" && objcopy --add-gnu-debuglink="$file.debug" "$work/libraries/$file")
done
strip --strip-debug -o "$work/libraries/libinctrl.a" "$built/libinctrl.a"
mv "$work/libraries/inctrl" "$package/bin/inctrl"
size=$(stat -c %s "$work/libraries/libinctrl.so")
if [ "$size" -gt "$MOST_BYTES" ]; then
    echo "release: libinctrl.so has $size bytes; the limit is $MOST_BYTES" >&2
    exit 1
fi
sh scripts/install.sh --libraries "$work/libraries" --prefix "$package" > /dev/null
# The package can be unpacked anywhere: pkg-config and CMake find the prefix from their files' own places.
sed -i -e "s|^prefix=.*|prefix=\${pcfiledir}/../..|" "$package/lib/pkgconfig/inctrl.pc"
sed -i -e "s| \"$package/include\"||" "$package/lib/cmake/inctrl/inctrlConfig.cmake"
cp -R README.md CHANGELOG.md docs "$package/"
python3 scripts/third_party.py "$package/share/licenses/inctrl/THIRD-PARTY"

for folder in "$name" "$name-symbols"; do
    tar -C "$work" --sort=name --owner=0 --group=0 -czf "$out/$folder.tar.gz.partial" "$folder"
    mv "$out/$folder.tar.gz.partial" "$out/$folder.tar.gz"
done
(cd "$out" && sha256sum "$name.tar.gz" "$name-symbols.tar.gz" > SHA256SUMS)
echo "$out/$name.tar.gz: libinctrl.so has $size bytes"
