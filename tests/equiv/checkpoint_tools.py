#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`trireme checkpoint` on real runs: what the tools say is so, a converted checkpoint goes on on its
layout when its source is gone, and no tool needs memory in proportion to the model."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import job

EVERY = "checkpoint.every=2"


def tool(folder, *arguments, ranks=None, code=0):
    """Output of a tool, which must end with this code."""
    done = folder.run(ranks, "checkpoint", *arguments)
    assert done.code == code, f"checkpoint {arguments} on {ranks} ranks: code {code} was due: {done}"
    return done.out


def objects(folder, *arguments, ranks=None, code=0):
    return [json.loads(line) for line in tool(folder, *arguments, "--json", ranks=ranks,
                                              code=code).splitlines()]


def newest(folder, run):
    return next(one for one in objects(folder, "list", run) if one.get("resumes"))


def listing(folder):
    """list, show and diff, in one process and in several."""
    folder.train(2, "run", "train.steps=6", EVERY, "parallel.tensor=2")
    for ranks in (None, 3):
        found = objects(folder, "list", "run", ranks=ranks)
        assert [one["step"] for one in found] == [6, 4, 2], found
        assert [one["state"] for one in found] == ["ok"] * 3 and found[0]["resumes"], found
        assert all(a["parent"] == b["uuid"] for a, b in zip(found, found[1:])), found
        assert found[0]["mesh"] == {"pipeline": 1, "data": 1, "context": 1, "tensor": 2}, found
        assert objects(folder, "list", "run/ckpt", ranks=ranks) == found
    one, = objects(folder, "list", f"run/ckpt/{found[1]['name']}/")
    assert one["uuid"] == found[1]["uuid"] and not one["resumes"], one
    text = tool(folder, "list", "run")
    assert text.count("a resume takes it") == 1 and found[0]["uuid"][:8] in text, text
    (folder.path / "run/ckpt/step-000009.01234567-89ab-cdef-0123-456789abcdef").mkdir()
    assert "leftover" in tool(folder, "list", "run")

    shown, = objects(folder, "show", "run", "--stats")
    assert shown["uuid"] == found[0]["uuid"] and "tensor: 2" in shown["job"], shown
    q = next(row for row in shown["rows"] if row["name"] == "param/layers.1.attention.q.weight")
    assert [box["count"] for box in q["boxes"]] == [[32, 64], [32, 64]], q
    assert 0.01 < q["rms"] < 0.1 and q["not_finite"] == 0, q
    picture = tool(folder, "show", "run", q["name"])
    assert "  " + "a" * 64 + "\n" in picture and "  " + "b" * 64 + "\n" in picture, picture
    assert picture == tool(folder, "show", "run", q["name"], ranks=2)
    assert "param/layers.*.attention.q.weight" in tool(folder, "show", "run")

    paths = [f"run/ckpt/{one['name']}" for one in found]
    n = len(shown["rows"])
    told = tool(folder, "diff", paths[0], "run", ranks=2)
    assert f"{n} rows: {n} equal" in told, told
    unequal, = objects(folder, "diff", paths[0], paths[2], code=1)
    assert not unequal["equal"] and unequal["step"] == [6, 2], unequal
    names = {row["name"] for row in unequal["unequal"]}
    assert "data/cursor" in names and "param/norm.bias" in names, names
    for ranks in (2, 3):
        again, = objects(folder, "diff", paths[0], paths[2], ranks=ranks, code=1)
        for a, b in zip(again["unequal"], unequal["unequal"]):
            assert abs(a.pop("rms") - b["rms"]) <= 1e-9 * b["rms"], (a, b)
            assert a == {key: b[key] for key in a}, (a, b)
    tool(folder, "diff", paths[0], paths[2], "--tolerance", "1e6")


def damage(folder):
    """verify names what was changed, and says so by its exit code."""
    folder.train(2, "run", "train.steps=6", EVERY, "checkpoint.keep=2", "parallel.zero=3")
    sound = objects(folder, "verify", "run")
    assert [one["sound"] for one in sound] == [True, True], sound
    shown, = objects(folder, "show", "run")
    row = next(r for r in shown["rows"] if r["name"] == "param/embed.token.weight")
    box = row["boxes"][1]
    file = shown["files"][box["file"]]["name"]
    path = folder.path / shown["path"] / file
    content = bytearray(path.read_bytes())
    content[box["offset"] + 5] ^= 4
    content[3] ^= 1
    path.write_bytes(content)
    for ranks in (None, 2, 3):
        one, other = objects(folder, "verify", "run", ranks=ranks, code=1)
        assert not one["sound"] and other["sound"], one
        kinds = {(d["kind"], d["file"], d.get("row")) for d in one["damage"]}
        assert kinds == {("outside rows", file, None), ("row", file, row["name"])}, one
        hurt = next(d for d in one["damage"] if d["kind"] == "row")
        assert hurt["start"] == box["start"] and hurt["count"] == box["count"], hurt
    # a damaged manifest, a missing file
    (folder.path / shown["path"] / "manifest.h5").write_bytes(b"no manifest")
    (folder.path / "run/ckpt" / newest(folder, "run")["name"] / "universal.h5").unlink()
    found = objects(folder, "verify", "run", code=1)
    assert sorted(d["kind"] for one in found for d in one["damage"]) == ["manifest", "missing"], found
    states = [one["state"] for one in objects(folder, "list", "run")]
    assert states == ["damaged", "damaged"], states


def same_curve(got, want, tolerance=1e-5):
    assert len(got) == len(want), f"{len(got)} steps, not {len(want)}"
    for a, b in zip(got, want):
        assert abs(a["loss"] - b["loss"]) <= tolerance * abs(b["loss"]), \
            f"step {a['step']}: {a['loss']}, not {b['loss']}"


def converts(folder):
    """A run goes on on another layout from a converted checkpoint, whose source is deleted."""
    want = folder.train(2, "unbroken", "train.steps=10", "parallel.tensor=2")
    folder.train(2, "run", "train.steps=6", EVERY, "parallel.tensor=2")
    old = objects(folder, "list", "run")
    layout = ("parallel.tensor=1", "parallel.zero=3")
    tool(folder, "convert", "run", "run", "--layout", *layout, "--ranks", "4", "--verify", ranks=2)
    made = newest(folder, "run")
    assert made["parent"] == old[0]["uuid"] and made["step"] == 6 and made["mesh"]["data"] == 4, made
    tool(folder, "diff", f"run/ckpt/{old[0]['name']}", "run")
    for one in old:
        shutil.rmtree(folder.path / "run/ckpt" / one["name"])
    tool(folder, "verify", "run", ranks=2)
    assert "seq" in tool(folder, "list", "run")
    got = folder.train(4, "run", "train.steps=10", *layout)
    same_curve(got, want)
    evaluated = folder.run(None, "eval", "run/ckpt")
    assert evaluated.code == 0, evaluated

    # into a folder of its own, taken up by a new run; as a spec's layout
    folder.write_spec("wide.yaml", {"parallel.pipeline": 2, "batch.micro": 1})
    tool(folder, "convert", "unbroken", "made", "--layout", "wide.yaml", "--ranks", "2")
    shutil.rmtree(folder.path / "unbroken/ckpt")
    got = folder.train(2, "new", "train.steps=12", "checkpoint.dir=made", "batch.micro=1",
                       "parallel.pipeline=2")
    longer = folder.train(2, "longer", "train.steps=12", "parallel.tensor=2")
    same_curve(got, longer[10:])


def refuses(folder):
    """What cannot be converted says why, and nothing is left."""
    folder.train(2, "run", "train.steps=6")
    for arguments, part in (
            (("run", "to", "--layout", "parallel.tensor=3", "--ranks", "3"), "nearest are 2 and 4"),
            (("run", "to", "--layout", "parallel.tensor=2"), "--ranks N"),
            (("run", "to", "--layout", "model.hidden=32", "--ranks", "2"), "no key of a layout"),
            (("run", "to"), "--layout"),
            (("run", "job.yaml", "--consolidate"), "is there already")):
        done = folder.run(None, "checkpoint", "convert", *arguments)
        assert done.code == 2 and part in done.err, f"{arguments}: {done}"
    assert not (folder.path / "to").exists()
    process = folder.start(2, "train", "job.yaml", "run.dir=busy", "train.steps=1000000", EVERY)
    ready = folder.path / "busy/ckpt"
    job.wait_for(lambda: ready.is_dir() and any(ready.glob("*/manifest.h5")), "a checkpoint")
    done = folder.run(None, "checkpoint", "convert", "run", "busy", "--layout", "parallel.data=1")
    process.send_signal(signal.SIGTERM)
    job.finish(process)
    assert done.code == 2 and "another job is running" in done.err, done


def measured(folder, *arguments):
    """Run a tool: seconds, peak of its memory in MB, bytes it wrote to the file system."""
    begin = time.monotonic()
    process = subprocess.Popen([folder.program, "checkpoint", *arguments], cwd=folder.path,
                               stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, f"checkpoint {arguments}: status {status}"
    return time.monotonic() - begin, usage.ru_maxrss / 1000, usage.ru_oublock * 512


def large(folder):
    """A checkpoint of 124 million parameters, 1.5 GB: memory stays bounded, links copy nothing."""
    folder.write_spec("large.yaml", {
        "model": {"family": "gpt2", "layers": 12, "hidden": 768, "heads": 12, "context": 64,
                  "vocab": 50257}, "batch": {"sequences": 2, "micro": 1}, "precision": "bf16"})
    folder.train(2, "run", "train.steps=1", "schedule.warmup=0", spec="large.yaml", timeout_s=900)
    size = newest(folder, "run")["bytes"]
    assert size > 1.4e9, size
    for arguments in (("list", "run"), ("show", "run", "--stats"), ("verify", "run"),
                      ("diff", "run", "run"), ("convert", "run", "whole.h5", "--consolidate")):
        seconds, peak_mb, _ = measured(folder, *arguments)
        print(f"     {arguments[0]}: {seconds:.2f} s, peak {peak_mb:.0f} MB", flush=True)
        assert peak_mb < 256, f"{arguments}: {peak_mb:.0f} MB"
    assert abs((folder.path / "whole.h5").stat().st_size - size) < 0.01 * size
    seconds, peak_mb, written = measured(folder, "convert", "run", "run", "--layout",
                                         "parallel.data=1")
    made = folder.path / "run/ckpt" / newest(folder, "run")["name"]
    own = sum(path.stat().st_size for path in pathlib.Path(made).iterdir()
              if path.stat().st_nlink == 1)
    print(f"     convert: {seconds:.2f} s, peak {peak_mb:.0f} MB, {written} bytes written, "
          f"{own} of them its own files", flush=True)
    assert written < 4 * own + 2**20, f"{written} bytes were written for {own}"


if __name__ == "__main__":
    sys.exit(job.main({"listing": listing, "damage": damage, "converts": converts,
                       "refuses": refuses, "large": large}, __doc__))
