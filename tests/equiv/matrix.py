#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Layouts as processes: mpirun and the program itself, 5 fp32 steps of AdamW, losses against one rank.

The layouts are those of tests/launch/test_matrix (--list); a part is the quick run, `all` is all of them
on 8 and 16 ranks.
"""
import json
import subprocess
import sys

import job

TOLERANCE = 1e-5
# AdamW: what the layouts' own spec has is sgd, for comparing tensors
ADAMW = ("optimizer.name=adamw", "optimizer.lr=2e-3", "optimizer.momentum=0")
# more ranks than cores, and others at work
TIMEOUT_S = 300


class Layouts:
    """The list, the spec that it is a list of overrides of, and runs of one rank for comparison."""

    def __init__(self, folder, everything):
        command = [folder.build / "test_matrix", *(["--all"] if everything else []), "--list"]
        listed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
        spec, *rows = (json.loads(line) for line in listed.stdout.splitlines())
        self.folder = folder
        self.rows = rows
        self.truths = {}
        (folder.path / "matrix.yaml").write_text(spec["yaml"])

    def train(self, row, run, *more, one_rank=False):
        layout = [] if one_rank else row["layout"]
        ranks = 1 if one_rank else row["ranks"]
        done = self.folder.run(ranks, "train", "matrix.yaml", f"run.dir={run}", *row["model"], *ADAMW,
                               *layout, *more, timeout_s=TIMEOUT_S)
        if done.code != 0:
            raise AssertionError(f"{name_of(row)}: {done}")
        return [step["loss"] for step in self.folder.steps(run)]

    def truth(self, row):
        key = " ".join(row["model"])
        if key not in self.truths:
            losses = self.train(row, f"runs/truth{len(self.truths)}", one_rank=True)
            assert losses[-1] < losses[0], f"{key} does not learn: {losses}"
            self.truths[key] = losses
        return self.truths[key]

    def compare(self, got, row, what):
        want = self.truth(row)
        assert len(got) == len(want), f"{what}: {len(got)} steps in place of {len(want)}"
        for step, (a, b) in enumerate(zip(got, want), 1):
            assert abs(a - b) <= TOLERANCE * abs(b), \
                f"{what}: step {step} has loss {a!r}, should be {b!r}"


def name_of(row):
    return f"{row['ranks']} ranks, {' '.join(row['model'])}, {' '.join(row['layout'])}"


def spread(rows, n):
    """n of the rows, from the first to the last, the larger layouts among them."""
    by_ranks = sorted(rows, key=lambda row: (row["ranks"], row["family"]))
    n = min(n, len(by_ranks))
    return [by_ranks[round(i * (len(by_ranks) - 1) / max(n - 1, 1))] for i in range(n)]


def try_rows(layouts, rows):
    failures = []
    for number, row in enumerate(rows):
        try:
            layouts.compare(layouts.train(row, f"runs/layout{number}"), row, name_of(row))
            print(f"     ok   {name_of(row)}", flush=True)
        except AssertionError as error:
            failures.append(str(error))
            print(f"     FAIL {name_of(row)}", flush=True)
    assert not failures, "\n".join(failures)


def few(folder):
    """Some layouts on 2 to 8 ranks."""
    layouts = Layouts(folder, everything=False)
    try_rows(layouts, spread(layouts.rows, 4))


def everything(folder):
    """Every layout, on 8 and 16 ranks."""
    layouts = Layouts(folder, everything=True)
    try_rows(layouts, layouts.rows)


if __name__ == "__main__":
    sys.exit(job.main({"few": few, "all": everything}, __doc__))
