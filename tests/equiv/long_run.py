#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A mixed layout on 8 ranks: no rank's resident memory grows from step 50 to near the end, step 550 at least, nothing is
allocated after the second step, and the loss falls. In the build with ASan each access is checked too."""
import os
import pathlib
import sys
import time

import job

STEPS, SETTLED, LEAST = 1500, 50, 550
# Near the end the checkpoint begins, for which memory is taken
LAST = STEPS - 50
LAYOUT = ("parallel.pipeline=2", "parallel.tensor=2", "parallel.data=2", "parallel.zero=2",
          "parallel.schedule=1f1b", "parallel.recompute=selective", "data.separator=10")
# Pages that the kernel or libraries take on their own; 450 steps that lose one byte in 4096 are seen
GROWTH_BYTES = 2 << 20
TIMEOUT_S = 600 # after the ranks have gone


def resident_bytes(pids):
    found = {}
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/statm").read_text().split()
        found[pid] = int(fields[1]) * os.sysconf("SC_PAGESIZE")
    return found


def steps_done(path):
    return path.read_text().count("\n") if path.is_file() else 0


def mixed(folder):
    """Pipeline 2 x tensor 2 x data 2, ZeRO 2, packed documents."""
    folder.write_spec("job.yaml", {"model.layers": 2, "model.hidden": 32, "model.context": 16,
                                   "train.steps": STEPS, "train.log_every": 50,
                                   "batch.sequences": 8, "batch.micro": 1})
    process = folder.start(8, "train", "job.yaml", "run.dir=run", *LAYOUT)
    metrics = folder.path / "run" / "metrics.jsonl"
    seen = [] # (step, resident bytes of each rank)
    ranks = []
    try:
        while process.poll() is None:
            if len(ranks) < 8:
                ranks = job.ranks_of(process, folder.program)
            elif steps_done(metrics) >= SETTLED:
                try:
                    resident = resident_bytes(ranks)
                except OSError: # a rank has ended
                    break
                step = steps_done(metrics)
                if step <= LAST:
                    seen.append((step, resident))
            time.sleep(0.05)
    finally:
        done = job.finish(process, TIMEOUT_S)
    assert done.code == 0, f"{done}"
    assert seen and seen[-1][0] >= LEAST, f"the job was too fast to be watched: {seen[-1:]}"
    (_, before), (step, after) = seen[0], seen[-1]
    growth = max(after[pid] - before[pid] for pid in before)
    assert growth <= GROWTH_BYTES, f"a rank grew by {growth} bytes until step {step}: {before} {after}"
    steps = folder.steps("run")
    assert len(steps) == STEPS and steps[-1]["loss"] < 0.9 * steps[0]["loss"], \
        f"{len(steps)} steps, loss from {steps[0]['loss']} to {steps[-1]['loss']}"
    allocations = {values["allocations"] for values in steps[2:]}
    assert len(allocations) == 1, f"steps allocate: {sorted(allocations)}"
    print(f"     {max(before.values()) >> 20} MiB a rank at step {seen[0][0]}, {growth} bytes more at "
          f"step {step}", flush=True)


if __name__ == "__main__":
    sys.exit(job.main({"mixed": mixed}, __doc__))
