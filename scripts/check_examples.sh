#!/usr/bin/env bash
# Builds the C and C++ examples as strictly as compilers can and runs them under valgrind: no error, no leak, no warning.
#
#     cargo build --release && scripts/check_examples.sh
#
# Without valgrind they run without it, and that is said.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
libraries=${1:-$root/target/release}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

strict=(-Wall -Wextra -Werror -pedantic -O1 -g)
sh "$root/scripts/install.sh" --libraries "$libraries" --prefix "$work/opt"
flags=(-I "$work/opt/include" -L "$work/opt/lib" -linctrl -Wl,-rpath,"$work/opt/lib")
gcc "${strict[@]}" -std=c99 "$root/examples/c/score_pnm.c" "${flags[@]}" -o "$work/score_pnm"
g++ "${strict[@]}" -std=c++17 "$root/examples/cpp/camera_loop.cpp" "${flags[@]}" -pthread -o "$work/camera_loop"

"$libraries/inctrl" weights random --config "$root/tests/fixtures/model/tapped.json" -o "$work/w.safetensors"
for name in query normal; do
    { printf 'P5 60 50 255\n'; head -c 3000 "$root/README.md"; } > "$work/$name.pgm"
done

check=()
if command -v valgrind > /dev/null; then
    # What is lost is a leak; tables that live as long as the program, some of them seen by pointers into their middle, are not.
    check=(valgrind --quiet --error-exitcode=9 --leak-check=full --show-leak-kinds=definite,indirect
        --errors-for-leak-kinds=definite,indirect)
else
    echo "SKIP: no valgrind; the examples run without it"
fi
"${check[@]}" "$work/score_pnm" "$work/w.safetensors" object "$work/query.pgm" "$work/normal.pgm"
# Errors on the way, too.
if "${check[@]}" "$work/score_pnm" "$work/absent" object "$work/query.pgm" "$work/normal.pgm" 2> "$work/said"; then
    echo "an absent file was not noticed" >&2
    exit 1
elif [ $? -ne 1 ]; then
    cat "$work/said" >&2
    exit 1
fi
grep -q "absent" "$work/said"
"${check[@]}" "$work/camera_loop" "$work/w.safetensors" 5
echo "the examples are clean"
