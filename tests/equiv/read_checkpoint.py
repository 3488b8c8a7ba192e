#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""examples/read-checkpoint on a run of four ranks: what it shows and saves is what reader.py reads; it
warns where a shard is gone or cut."""
import hashlib
import json
import pathlib
import subprocess
import sys

import job

HERE = pathlib.Path(__file__).parent
EXAMPLE = HERE.parent.parent / "examples" / "read-checkpoint" / "read_checkpoint.py"


def trained(folder):
    """A run's newest checkpoint of two, saved by four ranks."""
    folder.train(4, "runs/r", "train.steps=2", "schedule.warmup=0", "checkpoint.every=1",
                 "parallel.tensor=2")
    newest = [path for path in (folder.path / "runs/r/ckpt").iterdir() if path.name.startswith("step-000002.")]
    assert len(newest) == 1, newest
    return newest[0]


def look(folder, *arguments):
    command = [job.python_with_h5py(), EXAMPLE, *arguments]
    return job.finish(subprocess.Popen(command, cwd=folder.path, stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE, text=True, start_new_session=True))


def looks(folder):
    """All rows of the newest checkpoint; one of them as a file."""
    python = job.python_with_h5py()
    newest = trained(folder)
    read = subprocess.run([python, HERE / "reader.py", newest], capture_output=True, text=True, check=True)
    rows = json.loads(read.stdout)
    for path in ("runs/r", "runs/r/ckpt", newest):
        shown = look(folder, path)
        assert shown.code == 0 and not shown.err, str(shown)
        words = [line.split() for line in shown.out.splitlines()]
        assert ["step", "2"] in words and ["name:", '"equiv"'] in words, str(shown)
        assert "on a mesh of pipeline 1 x data 2 x context 1 x tensor 2" in shown.out, str(shown)
        missing = set(rows) - {line[0] for line in words if line}
        assert not missing, f"{path}: {missing} are not shown\n{shown}"
    name = "param/layers.1.mlp.up.weight"
    shown = look(folder, "runs/r", name, "up.npy")
    assert shown.code == 0 and "transformer.h.1.mlp.c_fc.weight^T" in shown.out, str(shown)
    whole = (folder.path / "up.npy").read_bytes()
    assert hashlib.sha256(whole[-256 * 64 * 4:]).hexdigest() == rows[name][2], f"{name} is another"


def lost(folder):
    """Files behind the tensors that are gone or cut; paths and names that are none."""
    checkpoint = trained(folder)
    shards = sorted(checkpoint.glob("shard-*.h5"))
    assert len(shards) == 4, shards
    held = shards[1].read_bytes()
    shards[1].unlink()
    shown = look(folder, checkpoint)
    assert shown.code == 1 and "could not be read (missing: shard-00001.h5)" in shown.err, str(shown)
    shards[1].write_bytes(held[:len(held) // 2])
    shown = look(folder, checkpoint)
    assert shown.code == 1 and "could not be read (damaged;" in shown.err, str(shown)
    shards[1].write_bytes(held)
    shown = look(folder, checkpoint)
    assert shown.code == 0 and not shown.err, str(shown)
    shown = look(folder, checkpoint, "up.weight")
    assert shown.code == 1 and "no tensor up.weight; there are optim/adamw/m/layers.0.mlp.up.weight" in shown.err, \
        str(shown)
    (checkpoint / "manifest.h5").unlink()
    shown = look(folder, checkpoint)
    assert shown.code == 1 and "no checkpoint in" in shown.err, str(shown)


if __name__ == "__main__":
    sys.exit(job.main({"looks": looks, "lost": lost}, __doc__))
