#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Jobs whose batch grows, by a test of the gradient or on a ramp: the same growth on every layout, what the
log and the metrics say of it, and runs that are stopped in the middle, skip a step with a test or go back."""
import re
import sys

import job
import unstable

ADAPTIVE = {"test": "norm", "eta": 0.1, "max": 96, "quantum": 8, "interval": 4, "growth": 1.7,
            "smoothing": 0.4, "lr": "sqrt"}
FOUND = ("batch_variance", "batch_gradient", "noise_scale", "batch_wanted")
LAYOUTS = ((2, ("parallel.zero=3",)), (2, ("parallel.tensor=2",)),
           (4, ("parallel.pipeline=2", "parallel.zero=2")), (8, ("parallel.tensor=2", "parallel.context=2",
                                                                 "parallel.pipeline=2", "batch.micro=1")))
GREW = re.compile(r"step (\d+): the batch grows from (\d+) to (\d+) sequences(.*)")


def prepare(folder):
    folder.write_spec("job.yaml", {"batch.micro": 1, "batch.adaptive": ADAPTIVE, "train.steps": 20})


def trained(folder, ranks, run, *more):
    done = folder.run(ranks, "train", "job.yaml", f"run.dir={run}", *more)
    assert done.code == 0, f"{run} on {ranks} ranks: {done}"
    return done, folder.steps(run)


def agree(got, want, what, tolerance):
    assert len(got) == len(want), f"{what}: {len(got)} steps, not {len(want)}"
    for a, b in zip(got, want):
        near = abs(a["loss"] - b["loss"]) <= tolerance * b["loss"]
        same = all(a[key] == b[key] for key in ("step", "batch", "samples", "lr"))
        assert near and same and (FOUND[0] in a) == (FOUND[0] in b), f"{what}: {a}, not {b}"


def consistent(done, steps, interval, most):
    """What the log says is what the metrics say."""
    grew = {int(step): (int(before), int(now)) for step, before, now, _ in GREW.findall(done.err)}
    samples = 0
    for this, following in zip(steps, steps[1:] + [None]):
        samples += this["batch"]
        assert this["samples"] == samples, f"{samples} samples: {this}"
        has_test = this["step"] % interval == 0 and this["batch"] < most
        assert all((key in this) == has_test for key in FOUND), f"{this}"
        if following and following["batch"] != this["batch"]:
            assert has_test and grew.pop(this["step"]) == (this["batch"], following["batch"]), done
    assert not grew or list(grew) == [steps[-1]["step"]], f"{grew}: {done}"


def grows(folder):
    """The same decisions and losses on 1, 2, 4 and 8 ranks, and nothing allocated after the second step."""
    prepare(folder)
    done, want = trained(folder, 1, "runs/one")
    assert want[0]["batch"] == 8 and want[-1]["batch"] > 24, f"{want[-1]}"
    consistent(done, want, 4, 96)
    for i, (ranks, layout) in enumerate(LAYOUTS):
        done, steps = trained(folder, ranks, f"runs/{i}", *layout)
        agree(steps, want, f"{ranks} ranks, {layout}", 1e-5)
        consistent(done, steps, 4, 96)
        assert len({step["allocations"] for step in steps[1:-1]}) == 1, f"{layout}: allocations"
    shown = folder.run(None, "check", "job.yaml", "--ranks", "2")
    for part in ("grows to 96 in quanta of 8, rounds of 2; norm test of 4 groups, every 4 steps",
                 "at least 5.12k tokens", "messages of the first step of rank 0",
                 "messages of such a step with a test of the batch of rank 0", "test of the batch"):
        assert part in shown.out, f"'{part}': {shown}"


def ramp(folder):
    """Even steps up to the end, wherever the run is stopped; it takes no test."""
    folder.write_spec("job.yaml", {"batch.micro": 1, "batch.ramp": {"to": 32, "samples": 150},
                                   "train.steps": 16})
    done, want = trained(folder, 1, "runs/one")
    batches = [step["batch"] for step in want]
    assert batches[0] == 8 and batches[-1] == 32 and batches == sorted(batches), f"{batches}"
    assert set(batches) == {8, 16, 24, 32} and not any(FOUND[0] in step for step in want), f"{batches}"
    assert len(GREW.findall(done.err)) == 3, done
    trained(folder, 2, "runs/two", "train.steps=7")
    agree(trained(folder, 4, "runs/two", "parallel.zero=3")[1], want, "stopped", 1e-5)


def stops(folder):
    """In the middle of the growth: the same layout goes on to the bit, another one with the same batches."""
    prepare(folder)
    want = trained(folder, 2, "runs/whole")[1]
    for to, layout, tolerance in ((2, (), 0), (4, ("parallel.tensor=2",), 1e-5)):
        run = f"runs/to{to}"
        trained(folder, 2, run, "train.steps=10")
        done, steps = trained(folder, to, run, *layout)
        agree(steps, want, f"stopped, then {to} ranks", tolerance)
        assert "it has no test" not in done.err, done
    # without tests first, then with them, then without
    trained(folder, 2, "runs/late", "train.steps=6", "batch.adaptive.test=off")
    done, steps = trained(folder, 2, "runs/late", "train.steps=10")
    assert "it has no test of the batch: that begins with batch.sequences (8)" in done.err, done
    assert steps[7]["batch"] == 8 and steps[8]["batch"] == 16 and "batch" not in steps[5], f"{steps}"
    steps = trained(folder, 2, "runs/late", "train.steps=12", "batch.adaptive.test=off")[1]
    assert steps[11]["samples"] == steps[9]["samples"] + 2 * 8, f"{steps[11]}"


def skips(folder):
    """A step that is skipped decides nothing, and the next one with a test does."""
    prepare(folder)
    for ranks in (1, 2):
        steps = trained(folder, ranks, f"runs/{ranks}", "stability.policy=skip", "stability.spike=1.01",
                        "stability.window=2", "stability.max_in_row=100", "batch.adaptive.interval=1")[1]
        skipped = [bool(step.get("skipped")) for step in steps]
        assert any(skipped) and not all(skipped), f"{skipped}"
        for this, following in zip(steps, steps[1:]):
            assert (FOUND[0] in this) == (not this.get("skipped") and this["batch"] < 96), f"{this}"
            assert following["batch"] == this["batch"] or not this.get("skipped"), f"{this}, {following}"


def rolls_back(folder):
    """The batch goes back with the weights, and grows again from other samples; alike on all layouts."""
    unstable.prepare(folder)
    more = ("stability.policy=rollback", "batch.micro=1", "batch.adaptive.test=norm",
            "batch.adaptive.max=32", "batch.adaptive.interval=3", "batch.adaptive.eta=0.05")
    done, want = unstable.trained(folder, 1, "runs/one", *more)
    assert want[-1]["batch"] == 32 and want[-1]["rollbacks"] >= 1, f"{want[-1]}"
    grew = [int(step) for step, *_ in GREW.findall(done.err)]
    assert len(grew) > len(set(grew)), f"no growth was taken back: {done}"
    agree(unstable.trained(folder, 2, "runs/two", "parallel.zero=3", *more)[1], want, "rolled back", 1e-5)


if __name__ == "__main__":
    sys.exit(job.main({"grows": grows, "ramp": ramp, "stops": stops, "skips": skips,
                       "rolls_back": rolls_back}, __doc__))
