#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Jobs whose data spoil a step. A token that occurs in one sample has an embedding that is no number: so
the step that takes this sample has no finite gradient, on whichever rank it falls, and all others are as
they should be. Policies, on several layouts; what is left behind; what goes on from it."""
import json
import os
import signal
import struct
import sys

import job

STEPS = 20
BATCH = 8
LAYOUTS = ((1, ("parallel.zero=0",)), (2, ("parallel.zero=1",)), (4, ("parallel.zero=3",)),
           (2, ("parallel.pipeline=2", "parallel.zero=0")))
SPEC = {"model.family": "llama", "train.steps": STEPS, "checkpoint.every": 4, "checkpoint.keep": 0,
        "schedule.decay": "constant"}
POISON = 255


def poison_weights(folder):
    """A checkpoint of fresh weights but for one token's embedding."""
    folder.train(1, "runs/fresh", "train.steps=1", "schedule.warmup=0",
                 spec="unstable.yaml")
    done = folder.run(None, "checkpoint", "export", "runs/fresh/ckpt", "hf")
    assert done.code == 0, done
    path = folder.path / "hf" / "model.safetensors"
    data = bytearray(path.read_bytes())
    length = struct.unpack("<Q", data[:8])[0]
    entry = json.loads(data[8:8 + length])["model.embed_tokens.weight"]
    width = entry["shape"][1]
    assert entry["dtype"] == "F32", entry
    begin = 8 + length + entry["data_offsets"][0] + POISON * width * 4
    data[begin:begin + width * 4] = struct.pack("<f", float("nan")) * width
    path.write_bytes(data)
    done = folder.run(None, "checkpoint", "import", "hf", "poisoned", "--spec", "unstable.yaml")
    assert done.code == 0, done


def prepare(folder):
    """Text of which nearly all samples are taken in a run, and the sample that is taken about half-way."""
    text = bytearray(job.generated_text(6000).encode())
    length = job.SPEC["model"]["context"]
    folder.write_spec("unstable.yaml", SPEC)
    (folder.path / "text.txt").write_bytes(text)
    poison_weights(folder)
    folder.write_spec("unstable.yaml", {**SPEC, "checkpoint.init_from": "poisoned"})
    for sample in range(3, 150, 7):
        spoilt = bytearray(text)
        spoilt[sample * length + 5] = POISON
        (folder.path / "text.txt").write_bytes(spoilt)
        done = train(folder, 1, f"runs/look{sample}")
        assert done.code in (0, 1), done
        steps = folder.steps(f"runs/look{sample}")
        if 9 <= len(steps) <= 13:
            assert done.code == 1 and "TRI_EDIVERGED" in done.err, done
            assert f"weights are as after step {len(steps)}" in done.err, done
            return len(steps) + 1
    raise AssertionError("no sample falls into the middle of the run")


def train(folder, ranks, run, *more):
    return folder.run(ranks, "train", "unstable.yaml", f"run.dir={run}", *more)


def trained(folder, ranks, run, *more):
    done = train(folder, ranks, run, *more)
    assert done.code == 0, f"{run} on {ranks} ranks: {done}"
    return done, folder.steps(run)


def lines(folder, run):
    return [json.loads(line) for line in
            (folder.path / run / "metrics.jsonl").read_text().splitlines()]


def committed(folder, run):
    """Steps of the checkpoints of a run, by age."""
    found = []
    for path in (folder.path / run / "ckpt").glob("step-*/manifest.h5"):
        header = path.read_bytes()[:512].decode("ascii", "replace")
        sequence = int(header.split("sequence ")[1].split()[0])
        found.append((sequence, int(path.parent.name[5:].split(".")[0])))
    return [step for _, step in sorted(found)]


def agree(got, want, what, tolerance=1e-5):
    assert [r["step"] for r in got] == [r["step"] for r in want], f"{what}: {got}"
    for a, b in zip(got, want):
        for key in ("loss", "grad_norm", "lr"):
            x, y = a[key], b[key]
            assert x == y or abs(x - y) <= tolerance * abs(y), \
                f"{what}: step {a['step']}: {key} {x!r}, not {y!r}"


def stop(folder):
    """As ever; and a save that was begun by the step before is no checkpoint."""
    bad = prepare(folder)
    for ranks, layout in LAYOUTS:
        done = train(folder, ranks, f"runs/stop{ranks}{len(layout)}", "checkpoint.every=1", *layout)
        assert done.code == 1 and done.err.count("error:") == 1, done
        assert f"step {bad}" in done.err and "TRI_EDIVERGED" in done.err, done
        newest = committed(folder, f"runs/stop{ranks}{len(layout)}")[-1]
        assert newest <= bad - 2, f"the checkpoint of step {newest} is not proven, {bad} is bad"


def skip(folder):
    """The step is in the curve, without an update; the run ends; all layouts agree; stopped anywhere, and
    resumed on another layout, it is the same."""
    bad = prepare(folder)
    want = None
    for number, (ranks, layout) in enumerate(LAYOUTS):
        run = f"runs/skip{number}"
        done, steps = trained(folder, ranks, run, "stability.policy=skip", *layout)
        assert f"step {bad}: loss" in done.err and "the update is skipped" in done.err, done
        row = steps[bad - 1]
        assert row["skipped"] == 1 and row["loss"] is None and row["lr"] == 0, row
        assert [r["step"] for r in steps] == list(range(1, STEPS + 1)), steps
        last = steps[-1]
        assert last["skipped_steps"] == 1 and last["samples_left_out"] == BATCH, last
        assert last["samples"] == STEPS * BATCH and "skipped" not in last, last
        want = want or steps
        agree(steps, want, f"{ranks} ranks, {layout}")
    # at the bad step, and behind it
    for end in (bad, bad + 1):
        run = f"runs/cut{end}"
        trained(folder, 2, run, "stability.policy=skip", f"train.steps={end}", *LAYOUTS[1][1])
        _, steps = trained(folder, 4, run, "stability.policy=skip", *LAYOUTS[2][1])
        agree(steps, want, f"after step {end} on other ranks")
        assert steps[-1]["skipped_steps"] == 1, steps[-1]


def rollback(folder):
    """Back to a checkpoint, with one row for each step and a line that says so; all layouts and ways to save
    agree; resumed on another layout, it is the same."""
    bad = prepare(folder)
    on = ("stability.policy=rollback",)
    back = (bad - 2) // 4 * 4
    left_out = (bad - back) * BATCH
    want = None
    for number, (ranks, layout) in enumerate((*LAYOUTS, (2, ("checkpoint.async=false",)))):
        run = f"runs/back{number}"
        done, steps = trained(folder, ranks, run, *on, *layout)
        assert f"step {bad}: loss" in done.err and f"back to step {back}" in done.err, done
        assert [r["step"] for r in steps] == list(range(1, STEPS + 1)), steps
        notes = [r for r in lines(folder, run) if "loss" not in r]
        assert len(notes) == 1 and notes[0]["rolled_back_from"] == bad and \
            notes[0]["step"] == back + 1 and notes[0]["rolled_back_loss"] is None and \
            notes[0]["left_out_from"] == back * BATCH and \
            notes[0]["left_out_to"] == bad * BATCH - 1, notes
        assert steps[-1]["rollbacks"] == 1 and steps[-1]["samples_left_out"] == left_out, steps[-1]
        assert steps[-1]["samples"] == STEPS * BATCH, steps[-1]
        assert committed(folder, run) == [0, *range(4, STEPS + 1, 4)], committed(folder, run)
        want = want or steps
        agree(steps, want, f"{ranks} ranks, {layout}")
    # killed behind the rollback, before the next save or after it; evaluations keep it from its end
    slow = ("train.eval_every=1", "train.eval_batches=100")
    process = folder.start(2, "train", "unstable.yaml", "run.dir=runs/killed", *on, *slow,
                           *LAYOUTS[1][1])
    rows = folder.path / "runs/killed/metrics.jsonl"
    job.wait_for(lambda: rows.is_file() and "rolled_back_from" in rows.read_text(), "a rollback")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, f"it ended before: {process.returncode}"
    job.wait_for(lambda: not job.processes_of(folder.program), "ranks that are killed")
    _, steps = trained(folder, 4, "runs/killed", *on, *LAYOUTS[2][1])
    agree(steps, want, "killed behind the rollback")
    assert len(lines(folder, "runs/killed")) == STEPS + 1, lines(folder, "runs/killed")
    for end in (bad, bad + 3):
        run = f"runs/cut{end}"
        trained(folder, 2, run, *on, f"train.steps={end}", *LAYOUTS[1][1])
        _, steps = trained(folder, 4, run, *on, *LAYOUTS[2][1])
        agree(steps, want, f"after step {end} on other ranks")
        assert steps[-1]["rollbacks"] == 1 and steps[-1]["samples_left_out"] == left_out, steps[-1]


def unproven(folder):
    """A checkpoint after every step: the one of the step before the bad one is none to go back to, and does not
    stay the newest, whether it is written beside training or at once."""
    bad = prepare(folder)
    curves = []
    for number, way in enumerate(("true", "false")):
        run = f"runs/every{number}"
        done, steps = trained(folder, 2, run, "stability.policy=rollback", "checkpoint.every=1",
                              f"checkpoint.async={way}")
        assert f"back to step {bad - 2}" in done.err, done
        assert committed(folder, run) == list(range(STEPS + 1)), committed(folder, run)
        curves.append(steps)
    agree(*curves, "saved beside training and at once", 0)


def in_vain(folder):
    """What no policy helps ends, and says so."""
    prepare(folder)
    text = bytearray(job.generated_text(6000).encode())
    text[0:len(text):20] = bytes([POISON]) * len(text[0:len(text):20])
    (folder.path / "text.txt").write_bytes(text)
    for policy, word in (("skip", "skips"), ("rollback", "rollbacks")):
        for ranks, layout in LAYOUTS[:3]:
            run = f"runs/vain_{policy}{ranks}"
            done = train(folder, ranks, run, f"stability.policy={policy}", "stability.max_in_row=3",
                         *layout)
            assert done.code == 1 and done.err.count("error:") == 1, done
            assert f"3 {word} in a row (stability.max_in_row)" in done.err, done
            want = [1, 2, 3] if policy == "skip" else []
            assert [r["step"] for r in folder.steps(run)] == want, folder.steps(run)


if __name__ == "__main__":
    sys.exit(job.main({"stop": stop, "skip": skip, "rollback": rollback, "unproven": unproven,
                       "in_vain": in_vain}, __doc__))
