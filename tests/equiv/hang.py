#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A rank that hangs, dies or fails in the middle of a job is named in one report, and no rank is left."""
import os
import re
import signal
import sys
import time

import job

LARGER = {"model.layers": 4, "model.hidden": 128, "model.context": 128, "batch.sequences": 16}
RANKS = 4


def begin(folder, run, *overrides):
    """Start a long job and wait until it has done some steps."""
    folder.write_spec("job.yaml", LARGER)
    process = folder.start(RANKS, "train", "job.yaml", f"run.dir={run}", "train.steps=1000000",
                           *overrides)
    metrics = folder.path / run / "metrics.jsonl"

    def running():
        if process.poll() is not None:
            raise AssertionError(f"the job ended early: {job.finish(process)}")
        return metrics.is_file() and metrics.read_text().count("\n") >= 3
    try:
        job.wait_for(running, "three steps")
    except AssertionError:
        end(process)
        raise
    return process


def end(process):
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def pid_of(process, folder, rank):
    """The process of a rank, by the number that the launcher gave it."""
    for pid in job.ranks_of(process, folder.program):
        with open(f"/proc/{pid}/environ", "rb") as file:
            if f"OMPI_COMM_WORLD_RANK={rank}".encode() in file.read().split(b"\0"):
                return pid
    raise AssertionError(f"no process has rank {rank}")


def reported(folder, process, parts, limit_s):
    """The job must end within the limit, with one report that matches, and no rank left."""
    began = time.monotonic()
    try:
        done = job.finish(process, limit_s)
    finally:
        end(process)
    took_s = time.monotonic() - began
    assert done.code != 0, f"the job reports success: {done}"
    assert done.err.count("error:") == 1, f"one report was due: {done}"
    for part in parts:
        assert re.search(part, done.err), f"the report lacks '{part}': {done}"
    job.wait_for(lambda: not job.processes_of(folder.program), "a rank is left behind", 15)
    print(f"     ended after {took_s:.1f} s")


def stopped(folder):
    """SIGSTOP: a rank that does nothing at all is named by the others, be it rank 0."""
    for victim in (2, 0):
        process = begin(folder, f"runs/stopped{victim}", "train.hang_seconds=3")
        os.kill(pid_of(process, folder, victim), signal.SIGSTOP)
        waiting = " ".join(str(r) for r in range(RANKS) if r != victim)
        reported(folder, process,
                 [f"error: rank {victim} of {RANKS}, host .*, step [0-9]+.*: TRI_ETIMEOUT",
                  f"rank {victim} has not come for [0-9.]+ s and does not answer: "
                  "last seen in step [0-9]+",
                  f"ranks {waiting} wait for [0-9.]+ s in step [0-9]+, .*: .* \\(ranks 0 1 2 3\\)",
                  "train.hang_seconds"], 40)


# Two stages of two ranks, many micro-batches.
HYBRID = ("parallel.pipeline=2", "parallel.tensor=2", "batch.micro=1")


def pipeline(folder):
    """A rank that stops, or dies, in the middle of a pipeline: within an operation of the schedule."""
    process = begin(folder, "runs/stopped", "train.hang_seconds=3", *HYBRID)
    os.kill(pid_of(process, folder, 3), signal.SIGSTOP)
    reported(folder, process,
             [f"error: rank 3 of {RANKS}, host .*, step [0-9]+.*: TRI_ETIMEOUT",
              "rank 3 has not come for [0-9.]+ s and does not answer",
              "wait.* in step [0-9]+, .*: .*(tensor|pipeline|world)"], 40)
    process = begin(folder, "runs/killed", *HYBRID)
    os.kill(pid_of(process, folder, 1), signal.SIGKILL)
    reported(folder, process,
             [f"error: rank 1 of {RANKS}, host .*, step [0-9]+.*: TRI_EPEER"], 10)


def patient(folder):
    """A job that was suspended as a whole, for longer than the limit, goes on."""
    process = begin(folder, "runs/patient", "train.hang_seconds=2")
    pids = job.ranks_of(process, folder.program)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(4)
    before = len(folder.steps("runs/patient"))
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    try:
        job.wait_for(lambda: process.poll() is not None or
                     len(folder.steps("runs/patient")) > before + 3, "steps after the pause")
        assert process.poll() is None, f"the job was ended: {job.finish(process)}"
    finally:
        end(process)


def killed(folder):
    """SIGKILL: the report says which rank died and what it was doing."""
    for victim in (1, 3):
        process = begin(folder, f"runs/killed{victim}")
        os.kill(pid_of(process, folder, victim), signal.SIGKILL)
        reported(folder, process,
                 [f"error: rank {victim} of {RANKS}, host .*, step [0-9]+.*: TRI_EPEER",
                  "its process died without a word", "rank [0-9] noticed"], 10)


def failed(folder):
    """The data break off under a running job: each rank that reads fails, one reports."""
    process = begin(folder, "runs/failed")
    os.truncate(folder.path / "text.txt", 100)
    reported(folder, process,
             [f"error: rank [0-9] of {RANKS}, host .*, step [0-9]+, reading the batch: TRI_",
              "text.txt"], 10)


if __name__ == "__main__":
    sys.exit(job.main({"stopped": stopped, "pipeline": pipeline, "patient": patient, "killed": killed, "failed": failed},
                      __doc__))
