#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing, builds, and runs the tests: a release build with all quick cases and the
# lint, then clang-tidy, ASan + UBSan (clang, which also builds the fuzzers), the fuzzers for 20 s each,
# and ThreadSanitizer on what makes threads. Everything it makes is under build/.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
source examples/packages.sh

usage()
{
    cat <<'END'
usage: tests/run.sh [--all] [--quick] [--fuzz SECONDS] [-j N]
  --all            also the cases labelled `long`
  --quick          only the release build's quick cases and the lint
  --fuzz SECONDS   time of each fuzzer (20)
  -j N             parallel jobs (all cores)
END
}

all=no quick=no fuzz_s=20 jobs=$(nproc)
while [ $# -gt 0 ]; do
    case $1 in
    --all) all=yes ;;
    --quick) quick=yes ;;
    --fuzz) fuzz_s=${2:?--fuzz needs seconds}; shift ;;
    -j) jobs=${2:?-j needs a number}; shift ;;
    -h | --help) usage; exit 0 ;;
    *) echo "error: unknown option $1" >&2; usage >&2; exit 2 ;;
    esac
    shift
done

summary=() failed=0 began=$SECONDS

# stage NAME COMMAND...: run it, remember how it went and how long it took.
stage()
{
    local name=$1 start=$SECONDS result=ok
    shift
    echo "== $name"
    if ! "$@"; then
        result=FAILED
        failed=1
    fi
    summary+=("$(printf '%-34s %-6s %4d s' "$name" "$result" $((SECONDS - start)))")
    [ "$result" = ok ]
}

# build FOLDER CMAKE-OPTION...
build()
{
    local folder=$1
    shift
    cmake -S . -B "$folder" -G Ninja "$@" >"$folder.log" 2>&1 || { cat "$folder.log"; return 1; }
    ninja -C "$folder" -j "$jobs" --quiet
}

# run_ctest FOLDER OPTION...: ctest with its list of failures and its totals
run_ctest()
{
    local folder=$1
    shift
    (cd "$folder" && ctest -j "$jobs" --output-on-failure --no-tests=error "$@")
}

# Python's packages for tests that read our files with somebody else's code. Where they are not to be
# had, those tests are skipped, which ctest shows.
python_packages()
{
    local python=build/venv/bin/python
    if ! $python -c 'import numpy, safetensors' 2>/dev/null &&
        ! { python3 -m venv build/venv && $python -m pip install -q numpy safetensors; }; then
        echo "   numpy and safetensors are not to be had: tests that need them are skipped" >&2
    fi
}

# A header, an index and configs to start from; the first byte says which it is.
seed_safetensors()
{
    printf '\001\010\000{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}' >"$1/header"
    printf '\002{"metadata":{},"weight_map":{"a":"1","b":"2"}}' >"$1/index"
    printf '\003{"model_type":"gpt2","n_layer":2,"activation_function":"gelu_new"}' >"$1/gpt2"
    printf '\003{"model_type":"llama","rms_norm_eps":1e-5,"rope_scaling":{"rope_type":"default"}}' \
        >"$1/llama"
}

run_fuzzers()
{
    local fuzzer name ok=0
    for fuzzer in tests/fuzz/fuzz_*.c; do
        name=$(basename "$fuzzer" .c)
        mkdir -p "build/corpus/$name"
        [ "$name" != fuzz_yaml ] || cat examples/*/spec.yaml >"build/corpus/$name/seed"
        [ "$name" != fuzz_safetensors ] || seed_safetensors "build/corpus/$name"
        echo "-- $name, $fuzz_s s"
        if ! (cd "build/corpus/$name" && LSAN_OPTIONS=suppressions="$root/tests/lsan.supp" \
            "$root/build/asan/$name" -max_total_time="$fuzz_s" -timeout=10 -rss_limit_mb=2048 \
            -malloc_limit_mb=64 -print_final_stats=1 . >../"$name.log" 2>&1); then
            tail -n 60 "build/corpus/$name.log"
            ok=1
        else
            grep -E 'number_of_executed_units|new_units_added' "build/corpus/$name.log"
        fi
    done
    return "$ok"
}

# shellcheck disable=SC2086
stage "packages" install_packages $packages_build python3 python3-venv python3-h5py python3-numpy \
    binutils clang-14 libclang-rt-14-dev \
    libomp-14-dev iproute2 clang-format-14 clang-tidy-14 || exit 1

mkdir -p build
stage "Python packages" python_packages || true
quick_only=(-LE long)
[ $all = yes ] && quick_only=()
if stage "build: gcc, release" build build/release; then
    stage "tests: release" run_ctest build/release "${quick_only[@]}" || true
    [ $quick = yes ] || [ $all = yes ] || stage "clang-tidy" run_ctest build/release -R '^lint.tidy$' ||
        true
fi
if [ $quick = no ]; then
    # One clang build serves three ends: second compiler, ASan + UBSan, fuzzers.
    if stage "build: clang, ASan + UBSan" build build/asan -DCMAKE_C_COMPILER=clang-14 \
        -DCMAKE_BUILD_TYPE=None -DCMAKE_C_FLAGS="-O1 -g1" -DTRI_SANITIZE=address,undefined \
        -DTRI_FUZZ=ON; then
        stage "tests: ASan + UBSan" run_ctest build/asan -LE long || true
        [ $all = no ] || stage "long run: ASan + UBSan" run_ctest build/asan -R '^long_run' || true
        stage "fuzzers" run_fuzzers || true
    fi
    if stage "build: gcc, TSan" build build/tsan -DCMAKE_BUILD_TYPE=None -DCMAKE_C_FLAGS="-O1 -g1" \
        -DTRI_SANITIZE=thread; then
        stage "tests: TSan" run_ctest build/tsan -LE long || true
    fi
fi

echo
echo "== totals"
printf '%s\n' "${summary[@]}"
if [ $failed -eq 0 ]; then
    echo "all passed in $((SECONDS - began)) s"
else
    echo "FAILED after $((SECONDS - began)) s"
fi
exit $failed
