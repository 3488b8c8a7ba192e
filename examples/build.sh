# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by examples that train, from the top of the tree, after packages.sh: the program and the text.

# Where build_program and make_text leave them.
program=build/quickstart/trireme
text=examples/quickstart/data/kjv.txt

# Builds $program, or fails and shows what cmake said.
build_program()
{
    echo "== build: $program"
    mkdir -p build
    cmake -S . -B build/quickstart -G Ninja -DTRI_TESTS=OFF >build/quickstart.log 2>&1 ||
        { cat build/quickstart.log >&2; echo "error: cmake could not configure the build" >&2; return 1; }
    ninja -C build/quickstart --quiet trireme
}

# Makes $text, the King James Bible of Debian's bible-kjv, unless it is there.
make_text()
{
    if [ ! -s $text ]; then
        echo "== text: $text"
        mkdir -p "$(dirname $text)"
        bible -f gen1:1-rev22:21 >$text.part
        mv $text.part $text
    fi
}
