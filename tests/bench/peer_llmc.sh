#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# GPT-2 124M side by side with the CPU program of llm.c, from the user's own checkout of it: the two
# train in turns on random tokens, with the same batch and the same number of threads. The checkout is
# only read: the program is built in a temporary folder, from a copy in which batch and length are set,
# by the checkout's own Makefile.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
trireme=$root/build/release/trireme
[ -x "$trireme" ] || trireme=$root/build/trireme
threads=2 batch=4 sequences="64 512" rounds=3 steps=2 precision=bf16 model=""

usage()
{
    cat <<'END'
usage: tests/bench/peer_llmc.sh LLMC-CHECKOUT [options]
  --trireme FILE      our program (build/release/trireme, else build/trireme)
  --threads N         of both (2)
  --batch N           sequences of a step, of both (4)
  --sequences "T..."  lengths to measure, at most 1024 (64 512)
  --rounds N          turns of each (3)
  --steps N           steps that count in a turn, after one that does not (2)
  --precision P       ours: bf16 or fp32 (bf16); llm.c's is fp32
  --model FILE        a checkpoint of GPT-2 124M in llm.c's format (else a random one is written)
Needs gcc, make, python3, 1 GB of space for temporary files (TMPDIR), and at length 512 about 8 GB of
memory. The result is one line per length: tokens/s of both and the ratio, medians over the turns.
END
}

fail()
{
    echo "error: $*" >&2
    exit "${code:-1}"
}

checkout=""
while [ $# -gt 0 ]; do
    case $1 in
    --trireme) trireme=$(realpath "${2:?--trireme needs a file}"); shift ;;
    --threads) threads=${2:?--threads needs a number}; shift ;;
    --batch) batch=${2:?--batch needs a number}; shift ;;
    --sequences) sequences=${2:?--sequences needs numbers}; shift ;;
    --rounds) rounds=${2:?--rounds needs a number}; shift ;;
    --steps) steps=${2:?--steps needs a number}; shift ;;
    --precision) precision=${2:?--precision needs a name}; shift ;;
    --model) model=$(realpath "${2:?--model needs a file}"); shift ;;
    -h | --help) usage; exit 0 ;;
    -*) usage >&2; code=2 fail "unknown option $1" ;;
    *) checkout=$1 ;;
    esac
    shift
done
[ -n "$checkout" ] || { usage >&2; code=2 fail "the folder of an llm.c checkout is missing"; }
for file in train_gpt2.c Makefile llmc; do
    [ -e "$checkout/$file" ] || code=2 fail "$checkout has no $file: it is no checkout of llm.c"
done
checkout=$(realpath "$checkout")
[ -x "$trireme" ] || code=2 fail "$trireme is missing: build first, or say --trireme FILE"
for tool in gcc make python3; do
    command -v "$tool" >/dev/null || fail "$tool is not installed"
done

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# A checkpoint (magic 20240326, version 3: fp32) of GPT-2 124M with random weights, unless there is one,
# and two files of random tokens (magic 20240520, version 1: uint16), where the program looks for them.
echo "writing random tokens${model:+, using $model} ..." >&2
python3 - "$folder" "$model" $((batch * 1024 * (steps + 2) + 1)) <<'END'
import array
import os
import random
import struct
import sys

folder, model, n_tokens = sys.argv[1], sys.argv[2], int(sys.argv[3])
length, vocab, layers, heads, width, padded = 1024, 50257, 12, 12, 768, 50304
random.seed(1)


def header(*words):
    return struct.pack("<256i", *words, *[0] * (256 - len(words)))


def weights():
    """(elements, kind) of each tensor, in the order of the file."""
    L, C = layers, width
    yield padded * C, "normal"
    yield length * C, "normal"
    for count, kind in ((C, "one"), (C, "zero"), (3 * C * C, "normal"), (3 * C, "zero"),
                        (C * C, "normal"), (C, "zero"), (C, "one"), (C, "zero"),
                        (4 * C * C, "normal"), (4 * C, "zero"), (4 * C * C, "normal"), (C, "zero")):
        yield L * count, kind
    yield C, "one"
    yield C, "zero"


path = os.path.join(folder, "gpt2_124M.bin")
if model:
    os.symlink(model, path)
else:
    # one block of deviates again and again: speed does not depend on their values
    n = 1 << 20
    block = {"normal": array.array("f", (random.gauss(0, 0.02) for _ in range(n))),
             "one": array.array("f", [1.0]) * n, "zero": array.array("f", [0.0]) * n}
    with open(path, "wb") as out:
        out.write(header(20240326, 3, length, vocab, layers, heads, width, padded))
        for count, kind in weights():
            for at in range(0, count, n):
                out.write(block[kind][:min(n, count - at)].tobytes())

data = os.path.join(folder, "dev/data/tinyshakespeare")
os.makedirs(data)
for part in ("train", "val"):
    with open(os.path.join(data, f"tiny_shakespeare_{part}.bin"), "wb") as out:
        out.write(header(20240520, 1, n_tokens))
        array.array("H", (random.randrange(vocab) for _ in range(n_tokens))).tofile(out)
END

# set_value PATTERN REPLACEMENT: in the copy; the line must be there.
set_value()
{
    grep -Eq "$1" "$folder/train_gpt2.c" ||
        fail "train_gpt2.c of this checkout has no line like '$1': this script does not know it"
    sed -Ei "s/$1/$2/" "$folder/train_gpt2.c"
}

# build LENGTH: the copy, without its evaluations and with as many steps as we need.
build()
{
    cp "$checkout/train_gpt2.c" "$folder/train_gpt2.c"
    ln -sfn "$checkout/llmc" "$folder/llmc"
    set_value '^( *)int B = [0-9]+;' "\\1int B = $batch;"
    set_value '^( *)int T = [0-9]+;' "\\1int T = $1;"
    set_value '^( *)int val_num_batches = [0-9]+;' '\1int val_num_batches = 0;'
    set_value 'step <= [0-9]+; step\+\+' "step <= $steps; step++"
    set_value 'step % 20 == 0' '0'
    rm -f "$folder/train_gpt2"
    make -C "$folder" -f "$checkout/Makefile" CC="${CC:-gcc}" train_gpt2 >"$folder/make.log" 2>&1 ||
        { cat "$folder/make.log" >&2; fail "building llm.c's train_gpt2"; }
    mv "$folder/train_gpt2" "$folder/train_$1"
}

# median: of the numbers on standard input, one a line.
median()
{
    sort -g | awk '{x[NR] = $1} END {if (NR == 0) exit 1
        print NR % 2 ? x[(NR + 1) / 2] : (x[NR / 2] + x[NR / 2 + 1]) / 2}'
}

# Tokens per second of one turn; what is printed is the result.
turn_theirs()
{
    (cd "$folder" && OMP_NUM_THREADS=$threads "./train_$1" >turn.log 2>&1) ||
        { cat "$folder/turn.log" >&2; fail "llm.c's program failed"; }
    local ms
    ms=$(sed -nE 's/^step [1-9][0-9]*: .*\(took ([0-9.]+) ms\).*/\1/p' "$folder/turn.log" | median) ||
        fail "llm.c's program printed no times of steps"
    awk -v n="$((batch * $1))" -v ms="$ms" 'BEGIN {printf "%.2f\n", n / ms * 1000}'
}

turn_ours()
{
    "$trireme" bench step --json --threads "$threads" --batch "$batch" --sequence "$1" \
        --precision "$precision" --rounds "$steps" >"$folder/ours.log" ||
        fail "trireme bench step failed"
    python3 -c '
import json, sys
print(next(r["value"] for r in map(json.loads, sys.stdin) if r["name"] == "step.tokens"))
' <"$folder/ours.log"
}

for length in $sequences; do
    build "$length"
    rm -f "$folder"/{theirs,mine,ratio}
    for round in $(seq "$rounds"); do
        theirs=$(turn_theirs "$length")
        mine=$(turn_ours "$length")
        echo "$theirs" >>"$folder/theirs"
        echo "$mine" >>"$folder/mine"
        awk -v a="$mine" -v b="$theirs" 'BEGIN {print a / b}' >>"$folder/ratio"
        echo "batch $batch, sequence $length, turn $round: llm.c $theirs, trireme $mine tokens/s" >&2
    done
    printf 'batch %d, sequence %d, %d threads: llm.c fp32 %.1f tokens/s, trireme %s %.1f tokens/s, ratio %.1f\n' \
        "$batch" "$length" "$threads" "$(median <"$folder/theirs")" "$precision" \
        "$(median <"$folder/mine")" "$(median <"$folder/ratio")"
done
