#!/usr/bin/env bash
# Builds what is given to others: OUT/inctrl-VERSION-TARGET.tar.gz with program, libraries, headers and licences, without debug
# information, and OUT/inctrl-VERSION-TARGET-symbols.tar.gz with that, for debuggers and profilers.
#
#     scripts/release.sh OUT
#
# With nvcc (NVCC, CUDA_HOME or PATH) the kernels of every GPU are inside; without, NVRTC compiles them at first use, and this says so.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
[ $# = 1 ] || { echo "usage: $0 OUT" >&2; exit 1; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
MOST_BYTES=12000000
cd "$root"

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
    echo "release: libinctrl.so has $size bytes, at most $MOST_BYTES are wanted" >&2
    exit 1
fi
sh scripts/install.sh --libraries "$work/libraries" --prefix "$package" > /dev/null
# Where it is unpacked nobody knows yet: pkg-config finds the prefix from the file's own place.
sed -i -e "s|^prefix=.*|prefix=\${pcfiledir}/../..|" "$package/lib/pkgconfig/inctrl.pc"
cp README.md CHANGELOG.md "$package/"

for folder in "$name" "$name-symbols"; do
    tar -C "$work" --sort=name --owner=0 --group=0 -czf "$out/$folder.tar.gz.partial" "$folder"
    mv "$out/$folder.tar.gz.partial" "$out/$folder.tar.gz"
done
kernels=$(grep -c -a "\.nv_fatbin\|sm_90" "$package/lib/libinctrl.so" || true)
[ "$kernels" -gt 0 ] || echo "release: built without nvcc: NVRTC compiles the kernels at first use, which takes a minute"
echo "$out/$name.tar.gz: libinctrl.so has $size bytes"
