#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The layout is not part of the result: the same job on other ranks gives the same curve."""
import sys

import job


def losses(steps):
    return [values["loss"] for values in steps]


def agree(got, want, tolerance, what):
    assert len(got) == len(want), f"{what}: {len(got)} steps against {len(want)}"
    for step, (a, b) in enumerate(zip(got, want), 1):
        assert abs(a - b) <= tolerance * abs(b), \
            f"{what}: step {step} has loss {a!r}, should be {b!r} to {tolerance}"


def meshes(folder):
    """1, 2 and 4 ranks, ZeRO 0 and 1, other micro-batches: one curve in fp32."""
    want = losses(folder.train(1, "runs/one", "parallel.zero=0"))
    assert len(want) == 20 and want[-1] < want[0], f"the job does not learn: {want}"
    for ranks, zero, micro in ((1, 1, 2), (2, 0, 2), (2, 1, 2), (2, 1, 4), (4, 0, 2), (4, 1, 2)):
        name = f"{ranks} ranks, zero {zero}, micro {micro}"
        got = folder.train(ranks, f"runs/r{ranks}z{zero}m{micro}", f"parallel.zero={zero}",
                           f"batch.micro={micro}")
        agree(losses(got), want, 1e-5, name)


def families(folder):
    """llama with grouped-query attention, and gpt2 with dropout: 1 against 4 ranks."""
    for name, changes in (
            ("llama", {"model.family": "llama", "model.kv_heads": 2}),
            ("dropout", {"model.dropout": 0.1}),
            ("sgd", {"optimizer.name": "sgd", "optimizer.lr": 0.1, "optimizer.momentum": 0.9})):
        folder.write_spec(f"{name}.yaml", changes)
        one = folder.train(1, f"runs/{name}1", spec=f"{name}.yaml")
        four = folder.train(4, f"runs/{name}4", spec=f"{name}.yaml")
        agree(losses(four), losses(one), 1e-5, name)


def repeats(folder):
    """The same mesh twice: bit for bit, losses and gradient norms, in both precisions."""
    for precision in ("fp32", "bf16"):
        first = folder.train(2, f"runs/{precision}a", f"precision={precision}")
        second = folder.train(2, f"runs/{precision}b", f"precision={precision}")
        for key in ("loss", "grad_norm"):
            a, b = ([values[key] for values in run] for run in (first, second))
            assert a == b, f"{precision}: {key} differs between two equal runs: {a} {b}"


def resumes(folder):
    """Stopped at step 10 on some ranks and continued on others: the curve of the unbroken run."""
    want = losses(folder.train(1, "runs/whole"))
    for before, after, zero in ((1, 2, 1), (2, 4, 1), (4, 1, 0)):
        run = f"runs/from{before}to{after}"
        half = folder.train(before, run, "train.steps=10", f"parallel.zero={zero}")
        assert len(half) == 10, f"{len(half)} steps in place of 10"
        whole = folder.train(after, run, "train.steps=20", f"parallel.zero={zero}")
        agree(losses(whole), want, 1e-5, f"{before} ranks, then {after}")


def precisions(folder):
    """50 steps in bf16: within 1 % of fp32."""
    want = losses(folder.train(2, "runs/fp32", "train.steps=50"))
    got = losses(folder.train(2, "runs/bf16", "train.steps=50", "precision=bf16"))
    agree(got, want, 0.01, "bf16")


if __name__ == "__main__":
    sys.exit(job.main({"meshes": meshes, "families": families, "repeats": repeats,
                       "resumes": resumes, "precisions": precisions}, __doc__))
