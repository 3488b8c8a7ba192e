#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Wrong input is answered: one report for the whole job, exit code 2 (wrong use) or 1, no rank left
behind, nothing overwritten."""
import os
import sys

import job


def refused(folder, ranks, code, parts, *arguments):
    """The command must fail with this code and one report that has these parts."""
    before = snapshot(folder)
    done = folder.run(ranks, *arguments, timeout_s=60)
    what = " ".join(map(str, arguments))
    assert done.code == code, f"{what} on {ranks} ranks: code {code} was due: {done}"
    assert done.err.count("error:") == 1, f"{what}: one report was due: {done}"
    for part in parts:
        assert part in done.err, f"{what}: the report lacks '{part}': {done}"
    job.wait_for(lambda: not job.processes_of(folder.program), f"{what}: a rank is left", 10)
    after = snapshot(folder)
    assert all(after.get(name) == stamp for name, stamp in before.items()), \
        f"{what}: a file was changed: {set(before.items()) - set(after.items())}"


def snapshot(folder):
    """Size and time of each file of the folder."""
    found = {}
    for place, _, files in os.walk(folder.path):
        for name in files:
            path = os.path.join(place, name)
            stat = os.stat(path)
            found[path] = (stat.st_size, stat.st_mtime_ns)
    return found


def keys(folder):
    """Unknown, mistyped, missing and contradicting keys, in the file and on the command line."""
    folder.write_spec("typo.yaml", {"optimizer.weight_decai": 0.1})
    refused(folder, 2, 2, ["typo.yaml", "weight_decai", "weight_decay"], "train", "typo.yaml")
    folder.write_spec("type.yaml", {"model.layers": "two"})
    refused(folder, 2, 2, ["type.yaml", "layers", "two"], "train", "type.yaml")
    folder.write_spec("range.yaml", {"data.holdout": 1.5})
    refused(folder, 2, 2, ["range.yaml", "holdout"], "train", "range.yaml")
    folder.write_spec("missing.yaml", {}, drop=["model.layers"])
    refused(folder, 2, 2, ["model.layers"], "train", "missing.yaml")
    refused(folder, 2, 2, ["train.stebs", "train.steps"], "train", "job.yaml", "train.stebs=3")
    refused(folder, 2, 1, ["absent.yaml"], "train", "absent.yaml")
    (folder.path / "broken.yaml").write_text("name: x\nmodel: {family: gpt2\ndata:\n")
    refused(folder, 2, 2, ["broken.yaml:"], "train", "broken.yaml")
    refused(folder, 2, 2, ["heads", "5"], "train", "job.yaml", "model.heads=5")
    refused(folder, 2, 2, ["batch"], "train", "job.yaml", "batch.sequences=6", "batch.micro=4")
    refused(folder, 4, 2, ["parallel.data", "3"], "train", "job.yaml", "parallel.data=3")
    refused(folder, 3, 2, ["parallel.tensor", "heads 4", "nearest are 2 and 4"], "train", "job.yaml",
            "parallel.tensor=3", "batch.sequences=6")
    refused(folder, 2, 2, ["pipeline 3", "2 ranks", "start 3"], "train", "job.yaml",
            "parallel.pipeline=3")
    refused(folder, None, 2, ["parallel.zero", "[1, 1, 2] would do"], "check", "job.yaml", "--ranks", "2",
            "parallel.zero=[1, 1, 4]")
    refused(folder, None, 2, ["heads"], "check", "job.yaml", "--ranks", "2", "model.heads=5")


def commands(folder):
    """Wrong commands and options."""
    refused(folder, None, 2, ["trian", "help"], "trian", "job.yaml")
    refused(folder, None, 2, [], "train")
    refused(folder, None, 2, ["--rankz"], "check", "job.yaml", "--rankz", "2")


def data(folder):
    """Missing, empty, short and damaged data, and token ids beyond the vocabulary."""
    files = folder.path
    raw = ("data.format=uint16", "model.vocab=300")
    (files / "empty.txt").write_bytes(b"")
    (files / "short.txt").write_bytes(b"too short for one batch")
    (files / "odd.bin").write_bytes(b"\1\0" * 20000 + b"\1")
    (files / "beyond.bin").write_bytes(b"\1\0" * 9000 + b"\xff\xff" * 9000)
    (files / "cut.bin").write_bytes(b"\0" * 100)
    for code, name, part, more in (
            (1, "absent.txt", "No such file", ()),
            (1, "empty.txt", "empty", ()),
            (2, "short.txt", "tokens", ()),
            (1, "odd.bin", "40001", raw),
            (1, "beyond.bin", "65535", raw),
            (1, "cut.bin", "100", ("data.format=llmc", "model.vocab=50257"))):
        refused(folder, 2, code, [name, part], "train", "job.yaml", f"data.train={name}",
                f"run.dir=runs/{name}", *more)


def folders(folder):
    """A run folder that cannot be written, or that belongs to something else."""
    (folder.path / "file").write_text("not a folder")
    refused(folder, 2, 1, ["file"], "train", "job.yaml", "run.dir=file/run")
    foreign = folder.path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("somebody's work")
    refused(folder, 2, 2, ["foreign"], "train", "job.yaml", "run.dir=foreign")
    refused(folder, 2, 2, ["foreign"], "train", "job.yaml", "run.dir=foreign")
    folder.train(2, "runs/done", "train.steps=6")
    refused(folder, 2, 2, ["runs/done", "finished", "train.steps"], "train", "job.yaml",
            "run.dir=runs/done", "train.steps=6")


def models(folder):
    """A run folder whose checkpoints are of another model or of other data."""
    folder.train(2, "runs/small", "train.steps=6")
    refused(folder, 2, 2, ["hidden"], "train", "job.yaml", "run.dir=runs/small", "train.steps=8",
            "model.hidden=128")
    (folder.path / "other.txt").write_text(job.generated_text(200000, seed=2))
    done = folder.run(2, "train", "job.yaml", "run.dir=runs/small", "train.steps=8",
                      "data.train=other.txt")
    assert done.code != 0 and done.err.count("error:") == 1, f"other data: {done}"
    refused(folder, None, 1, ["runs/absent"], "generate", "runs/absent", "--prompt", "And")


if __name__ == "__main__":
    sys.exit(job.main({"keys": keys, "commands": commands, "data": data, "folders": folders,
                       "models": models}, __doc__))
