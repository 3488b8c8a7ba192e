#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Signals and dead ranks: a job that is asked to save saves and goes on; one that is asked to stop stops
after its step with the state saved; one that is killed leaves nothing half-written, and no rank."""
import os
import signal
import sys
import time

import job

# Big enough that a step takes a while: not many are done until the signal comes.
LARGER = {"model.layers": 4, "model.hidden": 128, "model.context": 128, "batch.sequences": 16}
MANY = "train.steps=100000"


def begin(folder, run, *overrides):
    """Start a long job on two ranks and wait until it has done some steps."""
    folder.write_spec("job.yaml", LARGER)
    process = folder.start(2, "train", "job.yaml", f"run.dir={run}", MANY, *overrides)
    metrics = folder.path / run / "metrics.jsonl"

    def running():
        if process.poll() is not None:
            raise AssertionError(f"the job ended early: {job.finish(process)}")
        return metrics.is_file() and metrics.read_text().count("\n") >= 5
    try:
        job.wait_for(running, "five steps")
    except AssertionError:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        raise
    return process


def gone(folder):
    job.wait_for(lambda: not job.processes_of(folder.program), "a rank is left behind", 15)


def continues(folder, run, ranks, done_steps):
    """The run goes on from what was saved, and the curve is that of an unbroken run: to the bit on
    the ranks it began with."""
    last = done_steps + 3
    got = folder.train(ranks, run, f"train.steps={last}")
    want = folder.train(2, f"{run}-unbroken", f"train.steps={last}")
    tolerance = 0 if ranks == 2 else 1e-4
    for a, b in zip(got, want):
        assert abs(a["loss"] - b["loss"]) <= tolerance * abs(b["loss"]), \
            f"step {a['step']}: {a['loss']} after the stop, {b['loss']} without"
    assert len(got) == last, f"{len(got)} steps in place of {last}"


def stopped_by(folder, number, to_rank):
    name = f"runs/{signal.Signals(number).name.lower()}{'rank' if to_rank else ''}"
    process = begin(folder, name)
    if to_rank:
        os.kill(job.ranks_of(process, folder.program)[0], number)
    else:
        process.send_signal(number)
    done = job.finish(process)
    assert done.code == 0, f"{name}: a clean end was due: {done}"
    gone(folder)
    continues(folder, name, 2, folder.steps(name)[-1]["step"])


def checkpoints(folder, run):
    """The committed checkpoints of a run."""
    return {path.parent.name for path in (folder.path / run / "ckpt").glob("step-*/manifest.h5")}


def usr1(folder):
    """SIGUSR1 to mpirun, which hands it to the ranks, or to one rank: a checkpoint each time, and the job
    goes on; SIGUSR2 to mpirun: it ends after the step, state saved."""
    process = begin(folder, "runs/usr1", "checkpoint.keep=0")
    for to_rank in (False, True):
        before = checkpoints(folder, "runs/usr1")
        if to_rank:
            os.kill(job.ranks_of(process, folder.program)[1], signal.SIGUSR1)
        else:
            process.send_signal(signal.SIGUSR1)
        job.wait_for(lambda: checkpoints(folder, "runs/usr1") - before, "a checkpoint")
    at = folder.steps("runs/usr1")[-1]["step"]
    job.wait_for(lambda: folder.steps("runs/usr1")[-1]["step"] > at + 3, "three more steps")
    process.send_signal(signal.SIGUSR2)
    done = job.finish(process)
    assert done.code == 0, f"a clean end was due: {done}"
    gone(folder)
    continues(folder, "runs/usr1", 2, folder.steps("runs/usr1")[-1]["step"])


def stop_signals(folder):
    """SIGUSR2 to mpirun, and SIGTERM, SIGINT or SIGUSR2 to one rank end the whole job in the same way."""
    stopped_by(folder, signal.SIGUSR2, to_rank=False)
    stopped_by(folder, signal.SIGTERM, to_rank=True)
    stopped_by(folder, signal.SIGINT, to_rank=True)
    stopped_by(folder, signal.SIGUSR2, to_rank=True)


def storm(folder):
    """Signals at any moment of a step, those of its products too, change nothing."""
    process = begin(folder, "runs/storm", "train.steps=40", "checkpoint.every=0")
    while process.poll() is None:
        for rank in job.ranks_of(process, folder.program):
            for _ in range(50):
                try:
                    os.kill(rank, signal.SIGUSR1)
                except ProcessLookupError:
                    break
                time.sleep(0.0005)
    done = job.finish(process)
    assert done.code == 0, f"a job under a storm of signals: {done}"
    got = folder.steps("runs/storm")
    want = folder.train(2, "runs/calm", "train.steps=40")
    assert [step["loss"] for step in got] == [step["loss"] for step in want], "the curve is another"


def term(folder):
    """SIGTERM to mpirun, which kills the ranks within a second, while checkpoints are written at
    each second step: whatever is left can be continued from."""
    process = begin(folder, "runs/term", "checkpoint.every=2")
    process.terminate()
    job.finish(process)
    gone(folder)
    continues(folder, "runs/term", 2, folder.steps("runs/term")[-1]["step"])


def killed(folder):
    """kill -9 of one rank: the job ends with a failure, no rank is left, the newest checkpoint is
    continued from on another number of ranks."""
    for victim in (0, 1):
        run = f"runs/killed{victim}"
        process = begin(folder, run, "checkpoint.every=2")
        os.kill(sorted(job.ranks_of(process, folder.program))[victim], signal.SIGKILL)
        done = job.finish(process, 60)
        assert done.code != 0, f"a rank was killed, and the job reports success: {done}"
        gone(folder)
        continues(folder, run, 1, folder.steps(run)[-1]["step"])


if __name__ == "__main__":
    sys.exit(job.main({"usr1": usr1, "stop_signals": stop_signals, "storm": storm, "term": term,
                       "killed": killed}, __doc__))
