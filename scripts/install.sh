#!/bin/sh
# Installs the C interface: headers, libraries, licences, and the files for pkg-config and CMake.
#
#     cargo build --release -p inctrl --no-default-features
#     sh scripts/install.sh --prefix /usr/local [--libdir lib64] [--libraries target/release]
#
# --prefix   target folder (/usr/local); a relative one starts at the current folder.
# --libdir   folder for the libraries, absolute or below the prefix (lib).
# --libraries  folder with libinctrl.so and libinctrl.a (target/release).
# DESTDIR is put before all of these paths, for packages.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
prefix=/usr/local
libdir=lib
libraries=$root/target/release
usage() { echo "usage: $0 [--prefix DIR] [--libdir DIR] [--libraries DIR]" >&2; exit 1; }
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] && [ -n "$2" ] || usage
    case $1 in
        --prefix) prefix=$2 ;;
        --libdir) libdir=$2 ;;
        --libraries) libraries=$2 ;;
        *) usage ;;
    esac
    shift 2
done
case $prefix in /*) ;; *) prefix=$PWD/$prefix ;; esac
case $libdir in /*) ;; *) libdir=$prefix/$libdir ;; esac
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml" | head -n 1)
abi=$(sed -n 's/^#define INCTRL_ABI_VERSION \([0-9]*\)$/\1/p' "$root/include/inctrl.h")
for file in libinctrl.so libinctrl.a; do
    if [ ! -f "$libraries/$file" ]; then
        echo "$libraries/$file is missing: cargo build --release -p inctrl --no-default-features" >&2
        exit 1
    fi
done

to=${DESTDIR:-}$prefix
lib=${DESTDIR:-}$libdir
mkdir -p "$to/include" "$lib/pkgconfig" "$lib/cmake/inctrl" "$to/share/licenses/inctrl"
cp "$root/include/inctrl.h" "$root/include/inctrl.hpp" "$to/include/"
cp "$root/LICENSE-MIT" "$root/LICENSE-APACHE" "$to/share/licenses/inctrl/"
cp "$libraries/libinctrl.a" "$lib/libinctrl.a"
# Under another name first, so that a program that runs with the old library keeps it.
cp "$libraries/libinctrl.so" "$lib/.libinctrl.so.$version"
mv -f "$lib/.libinctrl.so.$version" "$lib/libinctrl.so.$version"
ln -sf "libinctrl.so.$version" "$lib/libinctrl.so.$abi"
ln -sf "libinctrl.so.$abi" "$lib/libinctrl.so"

# In a replacement of sed, and in a value of pkg-config, where a space ends an option.
plain() { printf '%s' "$1" | sed -e 's/[\\&|]/\\&/g'; }
spaced() { plain "$(printf '%s' "$1" | sed -e 's/ /\\ /g')"; }
fill() {
    sed -e "s|@PREFIX@|$($3 "$prefix")|g" -e "s|@LIBDIR@|$($3 "$libdir")|g" \
        -e "s|@VERSION@|$version|g" -e "s|@ABI@|$abi|g" "$root/scripts/install/$1" > "$2"
}
fill inctrl.pc.in "$lib/pkgconfig/inctrl.pc" spaced
# Below the prefix it is said by the prefix, which pkg-config can be told anew where the package is moved.
case $libdir in
    "$prefix"/*)
        below=$(spaced "${libdir#"$prefix"/}")
        sed "s|^libdir=.*|libdir=\${prefix}/$below|" "$lib/pkgconfig/inctrl.pc" > "$lib/pkgconfig/.inctrl.pc"
        mv "$lib/pkgconfig/.inctrl.pc" "$lib/pkgconfig/inctrl.pc"
        ;;
esac
fill inctrlConfig.cmake.in "$lib/cmake/inctrl/inctrlConfig.cmake" plain
fill inctrlConfigVersion.cmake.in "$lib/cmake/inctrl/inctrlConfigVersion.cmake" plain
echo "inctrl $version, interface $abi, is installed in $to"
