#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kills a job, or one of its ranks, at random moments around saves, again and again, each time going on from
what is left. After each kill: once there was a commit there is a checkpoint, all that are committed are
whole, none that is to be kept is gone, and the job goes on from the newest. Every step of every life,
until the end, has the loss and the norm of an undisturbed run, to the bit: so the state that was
restored (weights, moments, data cursor, counters) is that of its step."""
import os
import random
import re
import signal
import sys
import time

import job

KEEP = 2
EVERY = 2
STEPS = 400 # of a run; a next one begins when it is through
TINY = {"model.layers": 1, "model.hidden": 32, "model.heads": 2, "model.context": 16,
        "batch.sequences": 4, "batch.micro": 1, "train.steps": STEPS, "checkpoint.every": EVERY,
        "checkpoint.keep": KEEP}
# Ranks and layout; each has a reference of its own.
LAYOUTS = {
    "two": (2, ("parallel.zero=1",)),
    "stages": (4, ("parallel.pipeline=2", "parallel.zero=0", "model.layers=2")),
    "shards": (4, ("parallel.zero=3",)),
}
# Ways of saving, taken in turn.
WAYS = (("checkpoint.async=true",), ("checkpoint.async=false",),
        ("checkpoint.async=true", "checkpoint.files=node"))
FOLDER_NAME = re.compile(r"step-([0-9]+)\.[0-9a-f-]{36}$")


class Found:
    """What a folder of checkpoints holds."""

    def __init__(self, path):
        self.committed = {} # path by sequence
        self.steps = {}
        self.leftovers = 0
        for folder in path.iterdir() if path.is_dir() else ():
            match = FOLDER_NAME.match(folder.name)
            if not match:
                continue
            try:
                with open(folder / "manifest.h5", "rb") as file:
                    header = file.read(512).decode("ascii", "replace")
            except FileNotFoundError: # a save under way, what is left of one, or a folder on its way out
                self.leftovers += 1
                continue
            sequence = re.search(r"^sequence ([0-9]+)$", header, re.M)
            assert sequence, f"the manifest of {folder} is half there: {header!r}"
            self.committed[int(sequence[1])] = folder
            self.steps[int(sequence[1])] = int(match[1])

    def newest(self):
        return max(self.committed, default=0)


def curve_of(folder, run):
    """Loss and norm of each step in metrics.jsonl, as written; a line cut by the kill is left out."""
    text = (folder.path / run / "metrics.jsonl").read_text()
    found = {}
    for match in re.finditer(r'^\{"step":([0-9]+),"loss":([^,]+),"grad_norm":([^,]+),.*\}$', text, re.M):
        found[int(match[1])] = (match[2], match[3])
    return found


def follow(folder, run, process, chance):
    """Wait for a moment worth a kill: some saves into this life, then anywhere or right behind the
    beginning of a save. Returns the sequence number of the newest commit that was seen."""
    place = folder.path / run / "ckpt"
    deadline = time.monotonic() + 60
    first = Found(place).newest()
    wanted = first + chance.randint(0, 3)
    while process.poll() is None:
        assert time.monotonic() < deadline, "no checkpoint in a minute"
        if Found(place).newest() >= wanted and (folder.path / run / "metrics.jsonl").is_file():
            break
        time.sleep(0.001)
    if chance.random() < 0.3:
        time.sleep(chance.random() * 0.05)
    else: # a save begins when a new folder appears
        seen = set(os.listdir(place)) if place.is_dir() else set()
        while process.poll() is None and place.is_dir() and not set(os.listdir(place)) - seen:
            pass
        time.sleep(chance.random() * 0.004)
    return Found(place).newest()


def strike(folder, process, ranks, chance):
    """Kill a rank or all; returns what was done, None where the job had ended by itself."""
    pids = job.ranks_of(process, folder.program)
    if process.poll() is not None or len(pids) < ranks:
        return None
    if chance.random() < 0.5:
        victims, what = [chance.choice(pids)], "a rank"
    else:
        victims, what = [process.pid, *pids], "the job"
    for pid in victims:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    return what


def check_folder(folder, run, seen):
    """All that must be there is there, and each is whole."""
    found = Found(folder.path / run / "ckpt")
    newest = found.newest()
    assert newest >= seen, f"checkpoint {seen} was committed, {newest} is the newest"
    for sequence in range(max(1, newest - KEEP + 1), newest + 1):
        assert sequence in found.committed, \
            f"checkpoint {sequence} is gone; there are {sorted(found.committed)}"
    return found


def compare(folder, run, want):
    got = curve_of(folder, run)
    assert set(got) == set(range(1, max(got, default=0) + 1)), f"steps are missing: {sorted(got)}"
    for step, values in got.items():
        assert values == want[step], f"step {step}: {values}, {want[step]} undisturbed"
    return max(got, default=0)


class Campaign:
    """Lives of one layout, run after run."""

    def __init__(self, folder, name, chance):
        self.folder, self.chance = folder, chance
        self.ranks, self.layout = LAYOUTS[name]
        self.name = name
        self.kills = {"a rank": 0, "the job": 0}
        self.halves = self.runs = self.resumed = 0
        folder.train(self.ranks, f"runs/{name}-reference", *self.layout, "checkpoint.every=0")
        self.want = curve_of(folder, f"runs/{name}-reference")
        self.fresh()

    def fresh(self):
        self.runs += 1
        self.run = f"runs/{self.name}-{self.runs}"
        self.lives = 0

    def finished(self):
        """The run came through: the newest is of its last step, leftovers are gone."""
        found = check_folder(self.folder, self.run, 1)
        assert found.steps[found.newest()] == STEPS and not found.leftovers, \
            f"{found.steps}, {found.leftovers} leftovers"
        assert len(found.committed) == KEEP, f"{sorted(found.committed)} where {KEEP} are kept"
        assert compare(self.folder, self.run, self.want) == STEPS, "steps are missing"
        self.folder.remove_run(self.run)

    def live(self, kill=True):
        """One life. True if it was ended by a kill."""
        folder, before = self.folder, Found(self.folder.path / self.run / "ckpt")
        process = folder.start(self.ranks, "train", "job.yaml", f"run.dir={self.run}", *self.layout,
                               *WAYS[self.lives % len(WAYS)])
        self.lives += 1
        what = None
        try:
            if kill:
                seen = follow(folder, self.run, process, self.chance)
                what = strike(folder, process, self.ranks, self.chance)
            done = job.finish(process, 120)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        job.wait_for(lambda: not job.processes_of(folder.program), "a rank is left behind", 15)
        if before.committed:
            step = before.steps[before.newest()]
            assert f"resumed after step {step} from" in done.err, f"step {step} was due: {done}"
            self.resumed += 1
        if what is None:
            assert done.code == 0, f"the job failed by itself: {done}"
            self.finished()
            self.fresh()
            return False
        self.kills[what] += 1
        found = check_folder(folder, self.run, seen)
        self.halves += found.leftovers > 0
        compare(folder, self.run, self.want)
        return True

    def report(self):
        print(f"     {self.name}: {self.kills['a rank']} ranks and {self.kills['the job']} jobs killed, "
              f"{self.halves} times within a save, {self.resumed} times gone on, {self.runs} runs",
              flush=True)


def campaign(folder, name, kills, seed):
    """So many kills, then the last run to its end."""
    chance = random.Random(seed)
    folder.write_spec("job.yaml", TINY)
    lives = Campaign(folder, name, chance)
    while sum(lives.kills.values()) < kills:
        try:
            lives.live()
        except AssertionError as error:
            raise AssertionError(f"{name}, seed {seed}, after {lives.kills}: {error}") from None
    lives.live(kill=False)
    lives.report()
    return lives


def few(folder):
    """A dozen kills on two ranks."""
    lives = campaign(folder, "two", 12, random.randrange(1 << 30))
    assert lives.resumed >= 6, "hardly a life went on from a checkpoint"


def many(folder):
    """200 kills over three layouts; most of them must hit within a save."""
    lives = [campaign(folder, name, kills, random.randrange(1 << 30))
             for name, kills in (("two", 100), ("stages", 50), ("shards", 50))]
    within = sum(each.halves for each in lives)
    print(f"     200 kills, {within} within a save", flush=True)
    assert within >= 50, "the kills missed the saves"


if __name__ == "__main__":
    sys.exit(job.main({"few": few, "many": many}, __doc__))
