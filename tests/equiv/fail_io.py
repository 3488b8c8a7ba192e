#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Disks that fail: each call of a save in turn, on each rank, then disks that are full or read-only and
folders that vanish. Training goes on, to the bit; each failure is reported once, with its cause; earlier
checkpoints stay and verify; the next save succeeds; only a failed save at the end is an error."""
import errno
import os
import re
import signal
import subprocess
import sys

import job
import kill

RANKS = 2
KEEP = 3
ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT)
WAYS = {"async": ("checkpoint.async=true",), "sync": ("checkpoint.async=false",),
        "node": ("checkpoint.files=node",)}
LOST = re.compile(r"^warn: (?:rank [0-9]+: )?(step [0-9]+ was not saved: .*|an old checkpoint stays: .*)$", re.M)


def prepare(folder, steps, keep=KEEP):
    folder.write_spec("job.yaml", {**kill.TINY, "train.steps": steps, "checkpoint.every": 1,
                                   "checkpoint.keep": keep, "schedule.warmup": 0,
                                   "train.log_every": 1000000})


def preloaded(folder, below, rank=None, **settings):
    """What makes a job's calls fail, as options of mpirun."""
    module = folder.build / "libfail_io.so"
    values = {"LD_PRELOAD": module, "TRIREME_FAIL_BELOW": below, "TRIREME_FAIL_LOG": folder.path / "failed"}
    if rank is not None:
        values["TRIREME_FAIL_RANK"] = rank
    values.update({f"TRIREME_FAIL_{key.upper()}": value for key, value in settings.items()})
    options = []
    for name, value in values.items():
        options += ["-x", f"{name}={value}"]
    return options


def start(folder, run, options, *overrides):
    command = [*folder.mpirun(RANKS), *options, folder.program, "train", "job.yaml", f"run.dir={run}",
               *overrides]
    return folder.start_command(command)


def verify(folder, path):
    done = folder.run(None, "checkpoint", "verify", path)
    assert done.code == 0, f"{path} does not verify: {done}"


def expect_kept(folder, place, newest, step=None):
    """The newest ones are there, up to this sequence number, and whole."""
    found = kill.Found(place)
    assert found.newest() == newest, f"{newest} commits were due, the newest is {found.newest()}"
    assert step is None or found.steps[newest] == step, f"{found.steps} where step {step} was due"
    for sequence in range(max(1, newest - KEEP + 1), newest + 1):
        assert sequence in found.committed, f"checkpoint {sequence} is gone: {sorted(found.committed)}"
    for path in found.committed.values():
        verify(folder, path)
    return found


def expect_same_curve(folder, run, want, steps):
    got = kill.curve_of(folder, run)
    assert len(got) == steps, f"{len(got)} steps of {steps}"
    for step in got:
        assert got[step] == want[step], f"step {step}: {got[step]}, {want[step]} undisturbed"


def curve(folder, steps):
    folder.train(RANKS, "runs/undisturbed", f"train.steps={steps}", "checkpoint.every=0")
    return kill.curve_of(folder, "runs/undisturbed")


def sweep(folder, name, rank, want, steps):
    """Save 2 k fails at its k-th call, for each k that there is."""
    run = f"runs/{name}{rank}"
    place = folder.path / run / "ckpt"
    log = folder.path / f"failed.{rank}"
    errors = ",".join(map(str, ERRORS))
    done = job.finish(start(folder, run, preloaded(folder, place, rank, sweep=errors), *WAYS[name]), 300)
    assert done.code == 0, f"{run}: training was to go on: {done}"
    lines = log.read_text().splitlines()
    log.unlink()
    failed = [line.split(" ", 4) for line in lines if not line.startswith("whole")]
    whole = [line.split() for line in lines if line.startswith("whole")]
    calls = max(int(line[2]) for line in whole)
    assert failed and int(failed[-1][0]) <= steps - 4, \
        f"{run}: {steps} steps are too few for {calls} calls of a save"
    reports = LOST.findall(done.err)
    assert len(reports) == len(failed), \
        f"{run}: {len(failed)} calls failed, {len(reports)} reports: {failed} {done.err}"
    for (save, call, error, what, path), report in zip(failed, reports):
        assert os.strerror(int(error)) in report, \
            f"{run}: {what} of {path} failed (save {save}, call {call}): {report}"
    lost = sum(report.startswith("step") for report in reports)
    found = expect_kept(folder, place, steps - lost, steps)
    assert len(found.committed) == KEEP and not found.leftovers, \
        f"{run}: {sorted(found.committed)}, {found.leftovers} leftovers"
    expect_same_curve(folder, run, want, steps)
    kinds = sorted({entry[3] for entry in failed})
    print(f"     {run}: {len(failed)} calls failed ({' '.join(kinds)}), {lost} saves lost", flush=True)


def each_call(folder, cases, steps):
    prepare(folder, steps)
    want = curve(folder, steps)
    for name, rank in cases:
        sweep(folder, name, rank, want, steps)


def calls(folder):
    """Each call of a save on rank 0, which also commits, while training goes on; on rank 1, waiting."""
    each_call(folder, (("async", 0), ("sync", 1)), 200)


def all_calls(folder):
    """Each call, on each rank, in each way of saving."""
    each_call(folder, [(name, rank) for name in WAYS for rank in range(RANKS)], 240)


def short(folder):
    """Writes that take half of what they are given are gone on with."""
    prepare(folder, 6)
    done = job.finish(start(folder, "runs/short", preloaded(folder, folder.path / "runs/short/ckpt", short=1)))
    assert done.code == 0 and not LOST.search(done.err), f"{done}"
    expect_kept(folder, folder.path / "runs/short/ckpt", 6, 6)


def last(folder):
    """The save at the end fails: that is an error, what was saved before is gone on from."""
    prepare(folder, 2)
    place = folder.path / "runs/last/ckpt"
    done = job.finish(start(folder, "runs/last", preloaded(folder, place, 0, sweep=errno.ENOSPC)))
    assert done.code != 0 and done.err.count("error:") == 1, f"one error was due: {done}"
    assert os.strerror(errno.ENOSPC) in done.err, f"no cause is given: {done}"
    expect_kept(folder, place, 1, 1)
    done = folder.run(RANKS, "train", "job.yaml", "run.dir=runs/last")
    assert done.code == 0 and "resumed after step 1 from" in done.err, f"{done}"
    expect_kept(folder, place, 2, 2)


def steps_done(folder, run):
    path = folder.path / run / "metrics.jsonl"
    return max(kill.curve_of(folder, run), default=0) if path.is_file() else 0


def reach(folder, process, run, step):
    def reached():
        if process.poll() is not None:
            raise AssertionError(f"the job ended early: {job.finish(process)}")
        return steps_done(folder, run) >= step
    job.wait_for(reached, f"step {step}")


def stop(process):
    """Ask for the end; a job that does not come to it is killed."""
    process.send_signal(signal.SIGTERM) if process.poll() is None else None
    return job.finish(process, 60)


def end(process):
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def vanish(folder):
    """The folder of checkpoints is taken away while the job runs, and brought back."""
    prepare(folder, 1000000)
    run = "runs/vanish"
    place, away = folder.path / run / "ckpt", folder.path / run / "away"
    process = folder.start(RANKS, "train", "job.yaml", f"run.dir={run}")
    try:
        reach(folder, process, run, 10)
        place.rename(away)
        before = kill.Found(away).newest()
        at = steps_done(folder, run)
        reach(folder, process, run, at + 20)
        assert not place.exists(), "a folder that is gone is not made anew: it may have been a disk"
        away.rename(place)
        at = steps_done(folder, run)
        reach(folder, process, run, at + 20)
        os.kill(job.ranks_of(process, folder.program)[0], signal.SIGTERM)
        done = job.finish(process)
    finally:
        end(process)
    assert done.code == 0, f"{done}"
    reports = LOST.findall(done.err)
    assert len(reports) >= 15 and all("No such file" in report for report in reports), f"{done}"
    assert len(set(reports)) == len(reports), f"a failure is reported twice: {done}"
    found = kill.Found(place)
    assert found.newest() >= before + 10, f"{before} when it went, {found.newest()} now"
    expect_kept(folder, place, found.newest())


class Disk:
    """A small file system of its own, in a mount namespace of its own: mounted by a shell that then becomes
    mpirun, changed by nsenter."""

    def __init__(self, folder, size):
        self.folder, self.path = folder, folder.path / "disk"
        self.path.mkdir()
        self.enter = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
        self.mount = f"mount -t tmpfs -o size={size} none {self.path}"
        tried = subprocess.run([*self.enter, "sh", "-c", self.mount], capture_output=True, text=True)
        if tried.returncode != 0:
            raise job.Skip(f"no file system can be mounted here: {tried.stderr.strip()}")

    def start(self, run, *overrides):
        command = [*self.folder.mpirun(RANKS), self.folder.program, "train", "job.yaml", f"run.dir={run}",
                   f"checkpoint.dir={self.path}/ckpt", *overrides]
        script = f'{self.mount} && mkdir {self.path}/ckpt && exec "$@"'
        return self.folder.start_command([*self.enter, "sh", "-c", script, "sh", *command])

    def run(self, process, script):
        user = [] if os.geteuid() == 0 else ["-U", "--preserve-credentials"]
        done = subprocess.run(["nsenter", "-t", str(process.pid), *user, "-m", "sh", "-c", script],
                              capture_output=True, text=True)
        assert done.returncode == 0, f"{script}: exit {done.returncode}: {done.stdout} {done.stderr}"
        return done.stdout

    def ended_by(self, process):
        for pid in job.processes_of(self.folder.program)[:1]:
            os.kill(pid, signal.SIGTERM)
        return job.finish(process)

    def verified(self, process):
        """Verify what is committed, the last twenty of it, from within; their number."""
        script = (f"for c in $(ls -d {self.path}/ckpt/step-* | tail -n 20); do [ ! -f $c/manifest.h5 ] || "
                  f"{self.folder.program} checkpoint verify $c || [ ! -f $c/manifest.h5 ] || exit 1; done")
        return self.run(process, script).count("\n")


def full(folder):
    """A full disk: what fits stays, training goes on; with room again, saves succeed."""
    prepare(folder, 1000000, keep=0)
    disk = Disk(folder, "2m")
    run = "runs/full"
    process = disk.start(run)
    try:
        reach(folder, process, run, 40)
        assert disk.verified(process) >= 1, "the first ones fit"
        disk.run(process, f"mount -o remount,size=2g {disk.path}") # more than is filled while we look
        at = steps_done(folder, run)
        reach(folder, process, run, at + 30)
        count = int(disk.run(process, f"ls {disk.path}/ckpt | wc -l"))
        disk.verified(process)
        done = disk.ended_by(process)
    finally:
        end(process)
    reports = LOST.findall(done.err)
    assert done.code == 0, f"{done}"
    assert len(reports) >= 5, f"the disk was not full: {done}"
    for report in reports:
        assert "are free" in report or "No space left" in report, f"the cause is not named: {report}"
    assert len(set(reports)) == len(reports), f"a failure is reported twice: {done}"
    assert count >= 15, f"{count} checkpoints with room again"


def read_only(folder):
    """A file system becomes read-only, and writable again."""
    prepare(folder, 1000000)
    disk = Disk(folder, "100m")
    run = "runs/read_only"
    process = disk.start(run)
    try:
        reach(folder, process, run, 10)
        # busy while a file is open for writing
        turn = f"for i in $(seq 500); do mount -o remount,ro {disk.path} 2>&1 && exit 0; done; exit 1"
        disk.run(process, turn)
        listed = disk.run(process, f"ls {disk.path}/ckpt")
        at = steps_done(folder, run)
        reach(folder, process, run, at + 20)
        assert disk.run(process, f"ls {disk.path}/ckpt") == listed, "a read-only folder has changed"
        disk.verified(process)
        disk.run(process, f"mount -o remount,rw {disk.path}")
        at = steps_done(folder, run)
        reach(folder, process, run, at + 20)
        assert disk.run(process, f"ls {disk.path}/ckpt") != listed, "nothing was saved any more"
        disk.verified(process)
        done = disk.ended_by(process)
    finally:
        end(process)
    reports = LOST.findall(done.err)
    assert done.code == 0, f"{done}"
    assert len(reports) >= 15 and all("Read-only file system" in report for report in reports), f"{done}"
    assert len(set(reports)) == len(reports), f"a failure is reported twice: {done}"


if __name__ == "__main__":
    sys.exit(job.main({"calls": calls, "short": short, "last": last, "vanish": vanish, "full": full,
                       "read_only": read_only, "all_calls": all_calls}, __doc__))
