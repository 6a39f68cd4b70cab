#!/usr/bin/env bash
# Builds the C and C++ examples and the clients of tests/clients with all warnings as errors, and runs them under valgrind, which
# must find no error and no leak. Also builds against the installed package through pkg-config and CMake, shared and static.
#
#     cargo build --release && scripts/check_examples.sh [folder with libinctrl.so, libinctrl.a and inctrl]
#
# Checks whose tools (valgrind, pkg-config, cmake) are not installed are skipped with a message.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
libraries=${1:-$root/target/release}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

has() {
    command -v "$1" > /dev/null || { echo "SKIP: no $1; $2"; return 1; }
}

# Whether a program loads the shared library (1), or has all of it inside (0).
needs() {
    local found
    found=$(ldd "$1" | grep -c "libinctrl" || true)
    [ "$found" = "$2" ] || { echo "$1 loads libinctrl $found times, expected $2" >&2; return 1; }
}

strict=(-Wall -Wextra -Werror -pedantic -O1 -g)
sh "$root/scripts/install.sh" --libraries "$libraries" --prefix "$work/opt"
flags=(-I "$work/opt/include" -L "$work/opt/lib" -linctrl -Wl,-rpath,"$work/opt/lib")
c=(gcc "${strict[@]}" -std=c99)
cpp=(g++ "${strict[@]}" -std=c++17)
"${c[@]}" "$root/examples/c/score_pnm.c" "${flags[@]}" -o "$work/score_pnm"
"${c[@]}" "$root/tests/clients/stranger.c" "${flags[@]}" -o "$work/stranger"
"${cpp[@]}" "$root/examples/cpp/camera_loop.cpp" "${flags[@]}" -pthread -o "$work/camera_loop"
"${cpp[@]}" "$root/examples/cpp/products.cpp" "${flags[@]}" -o "$work/products"
# A second unit with the header in it: whatever is defined twice does not link.
echo '#include <inctrl.hpp>' > "$work/second.cpp"
"${cpp[@]}" "$root/tests/clients/everything.cpp" "$work/second.cpp" "${flags[@]}" -o "$work/everything"

# As small as a model can be that has all parts.
cat > "$work/config.json" << 'END'
{"embed_dim": 24, "vision_cfg": {"image_size": 48, "patch_size": 16, "width": 64, "layers": 2},
 "text_cfg": {"width": 16, "heads": 2, "layers": 1}, "inctrl": {"taps": [1, 2], "alpha": 0.5}}
END
for seed in 1 2; do
    "$libraries/inctrl" weights random --config "$work/config.json" --seed "$seed" -o "$work/$seed.safetensors"
done
weights=$work/1.safetensors
for name in query normal; do
    { printf 'P5 60 50 255\n'; head -c 3000 "$root/README.md"; } > "$work/$name.pgm"
done
mkdir "$work/c" "$work/cpp"

check=()
if has valgrind "the programs run without it"; then
    # What is lost is a leak; tables that live as long as the program, some of them seen by pointers into their middle, are not.
    check=(valgrind --quiet --error-exitcode=9 --leak-check=full --show-leak-kinds=definite,indirect
        --errors-for-leak-kinds=definite,indirect)
fi
"${check[@]}" "$work/score_pnm" "$weights" object "$work/query.pgm" "$work/normal.pgm"
# Errors on the way, too.
if "${check[@]}" "$work/score_pnm" "$work/absent" object "$work/query.pgm" "$work/normal.pgm" 2> "$work/error"; then
    echo "an absent file was not noticed" >&2
    exit 1
elif [ $? -ne 1 ]; then
    cat "$work/error" >&2
    exit 1
fi
grep -q "absent" "$work/error"
"${check[@]}" "$work/camera_loop" "$weights" 5
"${check[@]}" "$work/products" "$weights"
"${check[@]}" "$work/stranger" "$weights" "$work/2.safetensors" "$work/c" | tee "$work/c/said"
"${check[@]}" "$work/everything" "$weights" "$work/cpp" | tee "$work/cpp/said"
# Both draw the same pictures: pictures, bank and the bits of the score are the same.
for name in said query.pgm normal_0.pgm normal_1.pgm two.bank; do
    cmp "$work/c/$name" "$work/cpp/$name"
done

# Without valgrind, whose processor is of another kind and has scores with other bits.
"$work/score_pnm" "$weights" object "$work/query.pgm" "$work/normal.pgm" > "$work/said"
# A package with the archive alone, where -linctrl can mean nothing else.
cp -R "$work/opt" "$work/static"
rm "$work"/static/lib/libinctrl.so*
if has pkg-config "the package is not built through it"; then
    for kind in opt static; do
        # Its own folder, as --prefix would have said.
        package=(env PKG_CONFIG_PATH="$work/$kind/lib/pkgconfig" pkg-config --define-variable=prefix="$work/$kind")
        [ "$kind" = opt ] || package+=(--static)
        read -ra found <<< "$("${package[@]}" --cflags --libs inctrl)"
        "${c[@]}" "$root/examples/c/score_pnm.c" "${found[@]}" -o "$work/packaged"
        LD_LIBRARY_PATH=$work/opt/lib "$work/packaged" "$weights" object "$work/query.pgm" "$work/normal.pgm" |
            cmp - "$work/said"
        needs "$work/packaged" "$([ "$kind" = opt ] && echo 1 || echo 0)"
    done
fi
if has cmake "the package is not built through it"; then
    for static in OFF ON; do
        built=$work/cmake_$static
        cmake -S "$root/examples/cpp" -B "$built" -DCMAKE_PREFIX_PATH="$work/opt" -DINCTRL_STATIC=$static \
            -DCMAKE_CXX_FLAGS="${strict[*]}" > "$work/log" || { cat "$work/log"; exit 1; }
        cmake --build "$built" > "$work/log" || { cat "$work/log"; exit 1; }
        "$built/camera_loop" "$weights" 5 | grep "is generation 2"
        needs "$built/camera_loop" "$([ "$static" = OFF ] && echo 1 || echo 0)"
    done
fi
# A relative prefix with a space in it, and another folder of libraries.
(cd "$work" && sh "$root/scripts/install.sh" --libraries "$libraries" --prefix "some place" --libdir lib64)
[ -f "$work/some place/share/licenses/inctrl/LICENSE-MIT" ]
if has pkg-config "a prefix with a space is not tried with it"; then
    eval "found=($(PKG_CONFIG_PATH="$work/some place/lib64/pkgconfig" pkg-config --cflags --libs inctrl))"
    "${c[@]}" "$root/examples/c/score_pnm.c" "${found[@]}" -o "$work/spaced"
    LD_LIBRARY_PATH="$work/some place/lib64" "$work/spaced" "$weights" object "$work/query.pgm" "$work/normal.pgm" | cmp - "$work/said"
fi
if has cmake "a prefix with a space, and versions, are not tried with it"; then
    build=(cmake -S "$root/examples/cpp" -B "$work/cmake spaced" -Dinctrl_DIR="$work/some place/lib64/cmake/inctrl")
    "${build[@]}" > "$work/log" && cmake --build "$work/cmake spaced" >> "$work/log" || { cat "$work/log"; exit 1; }
    "$work/cmake spaced/camera_loop" "$weights" 5 | grep "is generation 2"
    # A program that asks for another minor version before 1.0 is refused, one that asks for this one is not.
    mkdir "$work/asks"
    for wanted in 0.1:0 0.2:1 1.0:1; do
        { echo 'cmake_minimum_required(VERSION 3.16)'; echo 'project(asks CXX)'; echo "find_package(inctrl ${wanted%:*} REQUIRED)"; } \
            > "$work/asks/CMakeLists.txt"
        rm -rf "$work/asked"
        status=0
        cmake -S "$work/asks" -B "$work/asked" -DCMAKE_PREFIX_PATH="$work/opt" > "$work/log" 2>&1 || status=1
        [ "$status" = "${wanted#*:}" ] || { echo "CMake: version ${wanted%:*} was judged wrongly" >&2; cat "$work/log" >&2; exit 1; }
    done
fi
echo "the examples and the clients are clean"
