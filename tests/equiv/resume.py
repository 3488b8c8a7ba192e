#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A run goes on with other settings: another batch, another optimizer, another vocabulary; and a new run
begins with the weights of an old one."""
import sys

import job

STILL = ("optimizer.lr=1e-30", "optimizer.weight_decay=0", "schedule.warmup=0")


def losses(steps):
    return [values["loss"] for values in steps]


def agree(got, want, what):
    assert len(got) == len(want), f"{what}: {len(got)} steps against {len(want)}"
    for step, (a, b) in enumerate(zip(got, want), 1):
        assert abs(a - b) <= 1e-5 * abs(b), f"{what}: step {step} of them has loss {a!r}, not {b!r}"


def refused(folder, ranks, part, *arguments):
    done = folder.run(ranks, "train", "job.yaml", *arguments)
    assert done.code == 2 and part in done.err, f"{arguments}: '{part}' was due: {done}"


def batch(folder):
    """The data go on at the next sample, whatever the batch: weights that stand still tell which samples a
    step had. The text is so short that its order begins again on the way."""
    (folder.path / "text.txt").write_text(job.generated_text(3000))
    want = losses(folder.train(1, "runs/fours", "batch.sequences=4", "train.steps=30", *STILL))
    folder.train(2, "runs/mixed", "batch.sequences=8", "train.steps=9", *STILL)
    mixed = folder.train(2, "runs/mixed", "batch.sequences=4", "train.steps=21", *STILL)
    eights = [(want[2 * i] + want[2 * i + 1]) / 2 for i in range(9)]
    agree(losses(mixed), eights + want[18:30], "eights, then fours")
    assert mixed[-1]["samples"] == 9 * 8 + 12 * 4, f"samples of {mixed[-1]}"


def optimizer(folder):
    """Another optimizer needs a word; then weights and data go on, and its states begin anew once."""
    folder.train(2, "runs/a", "train.steps=8")
    sgd = ("run.dir=runs/a", "train.steps=12", "optimizer.name=sgd", "optimizer.momentum=0.9")
    refused(folder, 2, "set checkpoint.optimizer: fresh", *sgd)
    fresh = (*sgd[1:], "checkpoint.optimizer=fresh")
    steps = folder.train(1, "runs/a", *fresh)
    assert [values["step"] for values in steps] == list(range(1, 13)), steps
    assert steps[8]["loss"] < steps[0]["loss"], "the weights were lost"
    # as if not stopped between: the second start takes the states that the first one made
    for run, ends in (("runs/b", (8,)), ("runs/c", (8,))):
        folder.train(1, run, f"train.steps={ends[0]}")
    folder.train(1, "runs/b", *fresh, "train.steps=16")
    folder.train(1, "runs/c", *fresh, "train.steps=12")
    folder.train(2, "runs/c", *fresh, "train.steps=16")
    agree(losses(folder.steps("runs/c")), losses(folder.steps("runs/b")), "stopped after fresh")


def weights(folder):
    """A new run begins with the weights of another: same loss on the same batch, all else its own."""
    first = losses(folder.train(1, "runs/first", "train.steps=12"))
    still = losses(folder.train(2, "runs/still", "checkpoint.init_from=runs/first", "train.steps=6",
                                "optimizer.name=sgd", *STILL))
    assert still[0] < first[0] - 0.1, f"began with loss {still[0]}, the first run with {first[0]}"
    again = losses(folder.train(1, "runs/again", "checkpoint.init_from=runs/first/ckpt",
                                "train.steps=6", *STILL))
    agree(again, still, "from the run's folder and from that of its checkpoints")
    # a run that has checkpoints goes on from those
    more = folder.train(2, "runs/still", "checkpoint.init_from=runs/absent", "train.steps=8",
                        "optimizer.name=sgd", *STILL)
    assert [values["step"] for values in more] == list(range(1, 9)), more
    assert "init_from" in (folder.path / "runs/again/job.yaml").read_text()


def vocabulary(folder):
    """Ids that are added do not occur: a run that goes on with them has the same weights below; without
    them again it goes on as well, on axes that do not divide the number of ids."""
    folder.train(2, "runs/v", "train.steps=8", "parallel.tensor=2")
    more = ("model.vocab=301", "train.steps=12")
    refused(folder, 1, "checkpoint.resize_vocab: true", "run.dir=runs/v", *more)
    folder.train(4, "runs/v", *more, "checkpoint.resize_vocab=true", "parallel.tensor=4")
    steps = folder.train(1, "runs/v", "train.steps=14", "checkpoint.resize_vocab=true")
    assert [values["step"] for values in steps] == list(range(1, 15)), steps
    assert steps[-1]["loss"] < steps[0]["loss"] - 0.1, losses(steps)


if __name__ == "__main__":
    sys.exit(job.main({"batch": batch, "optimizer": optimizer, "weights": weights,
                       "vocabulary": vocabulary}, __doc__))
