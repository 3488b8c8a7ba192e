# SPDX-License-Identifier: Apache-2.0
"""Runs trireme as a user does, in a folder of its own, and reads what the run left behind.

Used by the scripts of this folder; Python's standard library only.
"""
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ENVIRONMENT = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
MPIRUN = ("mpirun", "-q", "--oversubscribe", "--bind-to", "none", "--mca", "mpi_yield_when_idle", "1",
          "--mca", "btl_vader_single_copy_mechanism", "none")
SPEC = {
    "name": "equiv", "seed": 7, "precision": "fp32",
    "model": {"family": "gpt2", "layers": 2, "hidden": 64, "heads": 4, "context": 32},
    "data": {"train": "text.txt", "format": "text", "tokenizer": "bytes", "holdout": 0.1},
    "batch": {"sequences": 8, "micro": 2},
    "parallel": {"zero": 1},
    "optimizer": {"name": "adamw", "lr": 1e-3, "clip": 1.0},
    "schedule": {"warmup": 5, "decay": "constant"},
    "train": {"steps": 20, "eval_every": 0, "log_every": 1, "threads": 1},
    "checkpoint": {"every": 0},
}
WORDS = ("and the of to that in he shall unto for i his a lord they be is him not them it with all "
         "thou thy was god which my me said but ye their have will thee from as are when this out "
         "were upon by you up there man people king israel came").split()


def generated_text(n_bytes, seed=1):
    """Sentences of common words: enough to be learned, made anew each time."""
    chance = random.Random(seed)
    parts, size = [], 0
    while size < n_bytes:
        line = " ".join(chance.choice(WORDS) for _ in range(chance.randint(4, 12))) + ".\n"
        parts.append(line)
        size += len(line)
    return "".join(parts)[:n_bytes]


def yaml_of(spec):
    """A spec as YAML: flow style, which JSON is."""
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in spec.items())


SKIPPED = 77 # exit code of a script whose cases could not be tried here


class Skip(Exception):
    """What a case needs is not to be had here."""


def python_with_h5py():
    """An interpreter that has h5py: this one, or the system's."""
    for python in (sys.executable, "/usr/bin/python3"):
        tried = subprocess.run([python, "-c", "import h5py, numpy"], capture_output=True, check=False)
        if tried.returncode == 0:
            return python
    raise Skip("no python3 has h5py: install python3-h5py")


class Outcome:
    """What a command came to."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def __str__(self):
        return f"exit {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


class Folder:
    """A folder for runs, with a text and a spec; gone when the script ends well."""

    def __init__(self, program):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="trireme_equiv_")).resolve()
        self.build = pathlib.Path(program).resolve().parent
        # a file of its own: its processes are known by it, whatever else runs
        self.program = shutil.copy2(pathlib.Path(program).resolve(), self.path / "trireme")
        self.program = str(self.program)
        (self.path / "text.txt").write_text(generated_text(200000))
        self.write_spec("job.yaml", {})

    def write_spec(self, name, changes, drop=()):
        spec = json.loads(json.dumps(SPEC))
        for dotted, value in changes.items():
            place, *rest = dotted.split(".")
            if rest:
                spec[place][rest[0]] = value
            else:
                spec[place] = value
        for dotted in drop:
            place, key = dotted.split(".")
            del spec[place][key]
        (self.path / name).write_text(yaml_of(spec))

    def mpirun(self, ranks):
        return [*MPIRUN, "-n", str(ranks)]

    def command(self, ranks, *arguments):
        own = [self.program, *map(str, arguments)]
        return own if ranks is None else [*self.mpirun(ranks), *own]

    def start_command(self, command):
        return subprocess.Popen(command, cwd=self.path, env=ENVIRONMENT, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, errors="replace",
                                start_new_session=True)

    def start(self, ranks, *arguments):
        return self.start_command(self.command(ranks, *arguments))

    def run(self, ranks, *arguments, timeout_s=120):
        return finish(self.start(ranks, *arguments), timeout_s)

    def train(self, ranks, run, *overrides, spec="job.yaml", timeout_s=120):
        """Train to the end and return the metrics of its steps."""
        done = self.run(ranks, "train", spec, f"run.dir={run}", *overrides, timeout_s=timeout_s)
        if done.code != 0:
            raise AssertionError(f"train on {ranks} ranks, {overrides}: {done}")
        return self.steps(run)

    def steps(self, run):
        """Objects of metrics.jsonl that are steps, by step; a resumed run's later word counts."""
        found = {}
        for line in (self.path / run / "metrics.jsonl").read_text().splitlines():
            values = json.loads(line)
            if "loss" in values:
                found[values["step"]] = values
        return [found[step] for step in sorted(found)]

    def remove_run(self, run):
        shutil.rmtree(self.path / run)

    def remove(self):
        shutil.rmtree(self.path)


def finish(process, timeout_s=120):
    """Wait; a job that hangs is killed with all its ranks, and that is a failure."""
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        raise AssertionError(f"no end after {timeout_s} s\n{out}\n{err}") from None
    return Outcome(process.returncode, out, err)


def wait_for(condition, what, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout_s} s")
        time.sleep(0.02)


def processes_of(program):
    """Process ids that run this program file."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.readlink(entry / "exe") == program:
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def ranks_of(process, program):
    """Process ids of the ranks that this mpirun started."""
    found = []
    for pid in processes_of(program):
        try:
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == process.pid:
            found.append(pid)
    return found


def main(cases, description):
    """Run the cases named on the command line, or all."""
    import argparse
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--program", required=True, help="the trireme executable")
    parser.add_argument("--keep", action="store_true", help="keep the folders")
    parser.add_argument("case", nargs="*", help=" ".join(cases))
    arguments = parser.parse_args()
    unknown = set(arguments.case) - set(cases)
    if unknown:
        parser.error(f"no case {unknown}; there are {' '.join(cases)}")
    # ended from outside, a case still tidies up
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    failed = skipped = 0
    for name in arguments.case or cases:
        folder = Folder(arguments.program)
        try:
            cases[name](folder)
            print(f"ok   {name}", flush=True)
        except Skip as error:
            skipped += 1
            print(f"skip {name}: {error}", flush=True)
        except AssertionError as error:
            failed += 1
            print(f"FAIL {name} in {folder.path}: {error}", flush=True)
            continue
        if not arguments.keep:
            folder.remove()
    return 1 if failed else SKIPPED if skipped else 0
