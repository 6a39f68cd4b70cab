#!/bin/sh
# Installs the C interface: headers, libraries, and the files that pkg-config and CMake find them by.
#
#     cargo build --release -p inctrl --no-default-features
#     sh scripts/install.sh --prefix /usr/local
#
# --libraries names the folder with libinctrl.so and libinctrl.a (target/release). DESTDIR is honoured.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
prefix=/usr/local
libraries=$root/target/release
while [ $# -gt 0 ]; do
    case $1 in
        --prefix) prefix=$2; shift 2 ;;
        --libraries) libraries=$2; shift 2 ;;
        *) echo "usage: $0 [--prefix DIR] [--libraries DIR]" >&2; exit 1 ;;
    esac
done
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml" | head -n 1)
abi=$(sed -n 's/^#define INCTRL_ABI_VERSION \([0-9]*\)$/\1/p' "$root/include/inctrl.h")
for file in libinctrl.so libinctrl.a; do
    if [ ! -f "$libraries/$file" ]; then
        echo "$libraries/$file is missing: cargo build --release -p inctrl --no-default-features" >&2
        exit 1
    fi
done

to=${DESTDIR:-}$prefix
mkdir -p "$to/include" "$to/lib/pkgconfig" "$to/lib/cmake/inctrl"
cp "$root/include/inctrl.h" "$root/include/inctrl.hpp" "$to/include/"
cp "$libraries/libinctrl.a" "$to/lib/libinctrl.a"
# Under another name first, so that a program that runs with the old library keeps it.
cp "$libraries/libinctrl.so" "$to/lib/.libinctrl.so.$version"
mv -f "$to/lib/.libinctrl.so.$version" "$to/lib/libinctrl.so.$version"
ln -sf "libinctrl.so.$version" "$to/lib/libinctrl.so.$abi"
ln -sf "libinctrl.so.$abi" "$to/lib/libinctrl.so"

fill() {
    sed -e "s|@PREFIX@|$prefix|g" -e "s|@VERSION@|$version|g" -e "s|@ABI@|$abi|g" "$root/scripts/install/$1" > "$2"
}
fill inctrl.pc.in "$to/lib/pkgconfig/inctrl.pc"
fill inctrlConfig.cmake.in "$to/lib/cmake/inctrl/inctrlConfig.cmake"
fill inctrlConfigVersion.cmake.in "$to/lib/cmake/inctrl/inctrlConfigVersion.cmake"
echo "inctrl $version, interface $abi, is installed in $to"
