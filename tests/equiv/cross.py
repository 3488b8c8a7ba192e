#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Save on one layout, go on on another, as processes: the pairs of tests/launch/test_cross (--list).

Layout A trains 3 steps; layout B goes on to step 6, A again to step 8. Losses are those of one rank without a
stop. What A saved is read by reader.py, which knows the format's page alone. In every second pair the
checkpoint is converted for B by links first and A's own is deleted: the rows are the same, and so is the curve.
These pairs write one file for a node; every third saves beside its steps.
"""
import json
import pathlib
import shutil
import subprocess
import sys

import job

TOLERANCE = 1e-5
TIMEOUT_S = 300 # more ranks than cores, and others at work
READER = pathlib.Path(__file__).with_name("reader.py")


class Pairs:
    """The list, and runs of one rank for comparison."""

    def __init__(self, folder):
        self.python = job.python_with_h5py()
        listed = subprocess.run([folder.build / "test_cross", "--list"], capture_output=True,
                                text=True, check=True, timeout=300)
        self.folder = folder
        self.rows = []
        self.truths = {}
        for row in map(json.loads, listed.stdout.splitlines()):
            if "yaml" in row:
                spec = row["yaml"]
            else:
                self.rows.append({**row, "spec": f"{row['family']}.yaml"})
                (folder.path / f"{row['family']}.yaml").write_text(spec)

    def train(self, row, side, run, steps, *more):
        layout, ranks = (row[side], row[f"{side}_ranks"]) if side else ([], 1)
        done = self.folder.run(ranks, "train", row["spec"], f"run.dir={run}", f"train.steps={steps}",
                               *row["model"], *layout, *more, timeout_s=TIMEOUT_S)
        assert done.code == 0, f"{name_of(row)}: {done}"
        return [step["loss"] for step in self.folder.steps(run)]

    def truth(self, row):
        key = " ".join(row["model"])
        if key not in self.truths:
            losses = self.train(row, None, f"runs/truth{len(self.truths)}", 8)
            assert losses[-1] < losses[0], f"{key} does not learn: {losses}"
            self.truths[key] = losses
        return self.truths[key]

    def tool(self, *arguments):
        done = self.folder.run(None, "checkpoint", *arguments)
        assert done.code == 0, f"checkpoint {arguments}: {done}"
        return done.out

    def checkpoints(self, run):
        return sorted((self.folder.path / run / "ckpt").iterdir(), key=lambda path: path.stat().st_mtime)

    def read(self, checkpoint):
        done = subprocess.run([self.python, READER, checkpoint], capture_output=True, text=True,
                              check=False, timeout=TIMEOUT_S)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def convert(self, row, run):
        """For B, by links; A's own is deleted."""
        (source,) = self.checkpoints(run)
        rows = self.read(source)
        self.tool("convert", source, run, "--layout", *row["to"])
        shutil.rmtree(source)
        (made,) = self.checkpoints(run)
        assert self.read(made) == rows, f"{name_of(row)}: the converted checkpoint has other rows"
        self.tool("verify", run)

    def there_and_back(self, number):
        row, run = self.rows[number], f"runs/pair{number}"
        want = self.truth(row)
        how = [f"checkpoint.files={'node' if number % 2 else 'rank'}",
               f"checkpoint.async={'false' if number % 3 else 'true'}", "checkpoint.every=2"]
        self.train(row, "from", run, 3, *how, "checkpoint.keep=1")
        if number % 2:
            self.convert(row, run)
        else:
            (source,) = self.checkpoints(run)
            assert self.read(source), f"{source} has no rows"
        self.train(row, "to", run, 6, *how)
        got = self.train(row, "from", run, 8, *how)
        assert len(got) == len(want), f"{name_of(row)}: {len(got)} steps in place of {len(want)}"
        for step, (a, b) in enumerate(zip(got, want), 1):
            assert abs(a - b) <= TOLERANCE * abs(b), \
                f"{name_of(row)}: step {step} has loss {a!r}, should be {b!r}"


def name_of(row):
    return f"{' '.join(row['model'])}, {row['from_ranks']} ranks, {' '.join(row['from'])}, " \
           f"then {row['to_ranks']} ranks, {' '.join(row['to'])}"


def try_pairs(folder, every):
    pairs = Pairs(folder)
    failures = []
    for number in range(0, len(pairs.rows), every):
        try:
            pairs.there_and_back(number)
            print(f"     ok   {name_of(pairs.rows[number])}", flush=True)
        except AssertionError as error:
            failures.append(str(error))
            print(f"     FAIL {name_of(pairs.rows[number])}", flush=True)
    assert not failures, "\n".join(failures)


def few(folder):
    """Every third pair: both families."""
    try_pairs(folder, 3)


def everything(folder):
    """All pairs."""
    try_pairs(folder, 1)


if __name__ == "__main__":
    sys.exit(job.main({"few": few, "all": everything}, __doc__))
