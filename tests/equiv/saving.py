#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Saving beside training: the same bytes as saving at once, whatever is updated meanwhile; by steps, by
time; and a folder that is away for a while is a warning."""
import json
import signal
import sys

import job

LARGER = {"model.layers": 4, "model.hidden": 128, "model.context": 128, "batch.sequences": 16}


def checkpoints(folder, run):
    """The committed checkpoints of a run, by step."""
    return {int(path.parent.name.split(".")[0][5:]): path.parent
            for path in (folder.path / run / "ckpt").glob("step-*/manifest.h5")}


def beside(folder):
    """async: true and false, one file for each rank and for each node, ZeRO 0 and 3: equal tensors."""
    folder.write_spec("job.yaml", LARGER)
    for zero in (0, 3):
        runs = []
        for name, override in (("at-once", "checkpoint.async=false"), ("beside", "checkpoint.async=true"),
                               ("node", "checkpoint.files=node")):
            runs.append(f"runs/{name}{zero}")
            folder.train(2, runs[-1], override, f"parallel.zero={zero}", "train.steps=6",
                         "checkpoint.every=2", "checkpoint.keep=0", "checkpoint.keep_every=0")
        first = checkpoints(folder, runs[0])
        assert sorted(first) == [2, 4, 6], f"{runs[0]} has checkpoints of {sorted(first)}"
        for run in runs[1:]:
            other = checkpoints(folder, run)
            assert sorted(other) == [2, 4, 6], f"{run} has checkpoints of {sorted(other)}"
            for step, path in first.items():
                done = folder.run(None, "checkpoint", "diff", path, other[step], "--json")
                assert json.loads(done.out)["equal"], f"{run}, step {step}: {done}"
        shards = list(first[6].glob("shard-*")), list(checkpoints(folder, runs[2])[6].glob("shard-*"))
        assert [len(files) for files in shards] == [2, 1], f"files: {shards}"


def timed(folder):
    """checkpoint.every_seconds: checkpoints without a step being named; keep and keep_every hold."""
    folder.write_spec("job.yaml", LARGER)
    folder.train(2, "runs/timed", "checkpoint.every_seconds=0.05", "checkpoint.keep=0", "train.steps=20")
    assert len(checkpoints(folder, "runs/timed")) >= 3, checkpoints(folder, "runs/timed")
    folder.train(2, "runs/kept", "checkpoint.every=1", "checkpoint.keep=2", "checkpoint.keep_every=4",
                 "train.steps=10")
    kept = sorted(checkpoints(folder, "runs/kept"))
    assert kept == [4, 8, 9, 10], f"kept: {kept}"


def away(folder):
    """The folder of checkpoints goes away and comes back: warnings, a count, and then checkpoints again; if it
    stays away, the end of the job is a failure."""
    folder.write_spec("job.yaml", LARGER)
    process = folder.start(2, "train", "job.yaml", "run.dir=runs/away", "train.steps=100000",
                           "checkpoint.every=3")
    place, other = folder.path / "runs/away/ckpt", folder.path / "runs/away/elsewhere"
    job.wait_for(lambda: process.poll() is not None or checkpoints(folder, "runs/away"), "a checkpoint")
    place.rename(other)
    job.wait_for(lambda: folder.steps("runs/away")[-1].get("checkpoint_failures", 0) >= 2, "two failures")
    other.rename(place)
    before = set(checkpoints(folder, "runs/away"))
    job.wait_for(lambda: set(checkpoints(folder, "runs/away")) - before, "a checkpoint after it came back")
    place.rename(other)
    process.send_signal(signal.SIGUSR2)
    done = job.finish(process)
    assert done.code == 1 and done.err.count("error: ") == 1, f"the last checkpoint was not written: {done}"
    told = done.err.count("was not saved: ")
    counted = folder.steps("runs/away")[-1]["checkpoint_failures"]
    assert 2 <= told <= counted + 1 and "training goes on" in done.err, f"{counted} failures: {done}"
    other.rename(place)
    folder.train(2, "runs/away", f"train.steps={max(checkpoints(folder, 'runs/away')) + 2}")


if __name__ == "__main__":
    sys.exit(job.main({"beside": beside, "timed": timed, "away": away}, __doc__))
