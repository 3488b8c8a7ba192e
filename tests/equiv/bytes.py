#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Bytes that a step sends, counted between the program and MPI, against what `trireme check` says.

Every communicator is on backend mpi (TRIREME_COLL=mpi) and count_mpi is preloaded into the ranks. A run of
more steps less one of fewer leaves the steps alone. Compared are the bytes of all ranks together, for each
size of communicator: exactly, but for all-reduces of up to 16 KiB, which are gathered whole (N-1 times
their bytes in place of 2(N-1)/N).
"""
import collections
import json
import sys

import job

FEWER, MORE = 2, 4
SMALL_BYTES = 16 << 10
TIMEOUT_S = 300 # more ranks than cores, and others at work

# name, ranks, overrides; the spec is job.SPEC: gpt2, 4 heads, 8 sequences a step in micro-batches of 2
LAYOUTS = (
    ("zero 0", 2, "parallel.zero=0"),
    ("zero 1", 2, "parallel.zero=1"),
    ("zero 2, accumulated", 2, "parallel.zero=2"),
    ("zero 3, accumulated", 2, "parallel.zero=3"),
    ("zero 3 on four", 4, "parallel.zero=3"),
    ("nested zero", 4, "parallel.zero=[1,2,4]"),
    ("hsdp", 4, "parallel.zero=[2,2,2]"),
    ("tensor, whole norms", 2, "parallel.tensor=2 parallel.tensor_sequence=false"),
    ("tensor, sequence-parallel norms", 2, "parallel.tensor=2"),
    ("tensor 4", 4, "parallel.tensor=4"),
    ("full recomputation", 2, "parallel.tensor=2 parallel.recompute=full"),
    ("gpipe", 2, "parallel.pipeline=2 parallel.schedule=gpipe"),
    ("1f1b on four", 4, "parallel.pipeline=4 model.layers=4"),
    ("interleaved", 2, "parallel.pipeline=2 parallel.schedule=interleaved parallel.chunks=2 model.layers=4"),
    ("zb_v", 2, "parallel.pipeline=2 parallel.schedule=zb_v parallel.chunks=2 model.layers=4"),
    ("ring", 2, "parallel.context=2"),
    ("ring on four", 4, "parallel.context=4"),
    ("ulysses", 2, "parallel.context=2 parallel.context_mode=ulysses"),
    ("all-gather", 2, "parallel.context=2 parallel.context_mode=allgather"),
    ("data, tensor", 4, "parallel.tensor=2 parallel.zero=3"),
    ("data, pipeline", 4, "parallel.pipeline=2 parallel.zero=1"),
    ("tensor, pipeline, data", 8, "parallel.tensor=2 parallel.pipeline=2 parallel.zero=1"),
    ("context, tensor, data", 8, "parallel.context=2 parallel.tensor=2 parallel.zero=2"),
)
FEW = ("zero 1", "zero 3, accumulated", "tensor, sequence-parallel norms", "gpipe", "ring", "data, tensor")
# Layouts that the program refuses in this version, by name.
REFUSED = ()


def predicted(folder, ranks, overrides):
    """Bytes sent in a step by all ranks, by size of the communicator."""
    done = folder.run(None, "check", "job.yaml", "--ranks", ranks, "--messages", *overrides)
    assert done.code == 0, f"check: {done}"
    sent = collections.Counter()
    for line in done.out.splitlines():
        entry = json.loads(line)
        n, payload = entry["ranks"], entry["payload_bytes"]
        if entry["kind"] == "all-reduce" and payload <= SMALL_BYTES * entry["calls"]:
            sent[n] += (n - 1) * payload
        elif entry["kind"] == "broadcast": # one rank of n sends it to the others
            sent[n] += payload * (n - 1) / n
        else:
            sent[n] += entry["sent_bytes"]
    return sent


def counted(folder, ranks, steps, overrides):
    """Bytes sent in a whole run, by size of the communicator."""
    counts = folder.path / "count"
    for old in folder.path.glob("count.*"):
        old.unlink()
    command = folder.command(ranks, "train", "job.yaml", f"run.dir=runs/{steps}", f"train.steps={steps}",
                             "schedule.warmup=0", *overrides)
    at = command.index(folder.program)
    preload = ["-x", "TRIREME_COLL=mpi", "-x", f"TRIREME_COUNT={counts}", "-x",
               f"LD_PRELOAD={folder.build / 'libcount_mpi.so'}"]
    command[at:at] = preload
    done = job.finish(folder.start_command(command), TIMEOUT_S)
    assert done.code == 0, f"train: {done}"
    sent = collections.Counter()
    for rank in range(ranks):
        for line in (folder.path / f"count.{rank}").read_text().splitlines():
            entry = json.loads(line)
            sent[entry["ranks"]] += entry["bytes"]
    return sent


def compare(folder, name, ranks, overrides):
    overrides = overrides.split()
    want = predicted(folder, ranks, overrides)
    fewer, more = (counted(folder, ranks, steps, overrides) for steps in (FEWER, MORE))
    for size in sorted(set(want) | set(more)):
        got = (more[size] - fewer[size]) / (MORE - FEWER)
        assert abs(got - want[size]) < 1, \
            f"{name}: communicators of {size} send {got} bytes a step, check says {want[size]}"
    total = sum(want.values())
    print(f"     {name}: {total:.0f} bytes a step, as predicted", flush=True)
    for steps in (FEWER, MORE):
        folder.remove_run(f"runs/{steps}")


def layouts(folder, chosen):
    wrong = []
    for row in chosen:
        if row[0] in REFUSED:
            done = folder.run(None, "check", "job.yaml", "--ranks", row[1], *row[2].split())
            assert done.code != 0, f"{row[0]} is no longer refused: take it off the list"
            continue
        try:
            compare(folder, *row)
        except AssertionError as error:
            wrong.append(str(error))
    assert not wrong, "\n".join(wrong)


def few(folder):
    layouts(folder, [row for row in LAYOUTS if row[0] in FEW])


def every(folder):
    layouts(folder, LAYOUTS)


if __name__ == "__main__":
    sys.exit(job.main({"few": few, "all": every}, __doc__))
