#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From a fresh machine to a trained GPT: installs the packages that are missing, builds trireme, gets
# the text (the King James Bible, from Debian's bible-kjv), trains with two ranks, and samples.
# Run again, it continues a run that was stopped, and only samples from a finished one.
set -euo pipefail
cd "$(dirname "$0")/.."
source examples/packages.sh
source examples/build.sh

usage()
{
    cat <<'END'
usage: examples/quickstart.sh [--fresh] [--ranks N] [--prompt TEXT] [key=value ...]
  --fresh         put an earlier run aside and train anew
  --ranks N       ranks to train with (2)
  --prompt TEXT   what the sample continues
  key=value       override a key of examples/quickstart/spec.yaml, e.g. train.steps=100
END
}

fresh=no ranks=2 prompt="And God said" run=runs/quickstart overrides=()
while [ $# -gt 0 ]; do
    case $1 in
    --fresh) fresh=yes ;;
    --ranks) ranks=${2:?--ranks needs a number}; shift ;;
    --prompt) prompt=${2:?--prompt needs a text}; shift ;;
    -h | --help) usage; exit 0 ;;
    run.dir=*) run=${1#run.dir=} ;;
    *=*) overrides+=("$1") ;;
    *) echo "error: unknown option $1" >&2; usage >&2; exit 2 ;;
    esac
    shift
done

# shellcheck disable=SC2086
install_packages $packages_build bible-kjv

build_program
make_text

if [ $fresh = yes ] && [ -e "$run" ]; then
    aside=$run.$(date +%Y%m%d-%H%M%S)
    echo "== the earlier run is kept in $aside"
    mv "$run" "$aside"
fi

# Each rank gets its own share of the cores; more ranks than cores are fine too, but Open MPI wants to
# be told so, and that root may run it.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
mpi=(mpirun -q -n "$ranks" --mca btl_vader_single_copy_mechanism none)
if [ "$ranks" -le "$(nproc)" ]; then
    mpi+=(--use-hwthread-cpus --map-by "slot:PE=$(($(nproc) / ranks))" --bind-to hwthread:if-supported)
else
    mpi+=(--oversubscribe --bind-to none --mca mpi_yield_when_idle 1)
fi
if [ -e "$run/finished" ] && [ ${#overrides[@]} -eq 0 ]; then
    echo "== train: $run holds a finished run; --fresh trains anew"
else
    echo "== train: $ranks ranks, run folder $run"
    "${mpi[@]}" $program train examples/quickstart/spec.yaml run.dir="$run" "${overrides[@]}"
fi

echo "== sample: what the model writes after \"$prompt\""
$program generate "$run/ckpt" --prompt "$prompt" --tokens 400
