# SPDX-License-Identifier: Apache-2.0
"""Runs jobs side by side, each on a core of its own, and keeps what came out of each.

A result is kept under a hash of all that it depends on: the spec, the contents of the data, the program file.
So a comparison that was stopped goes on where it was, and one with more trials runs only the new ones.
"""
import concurrent.futures
import fcntl
import hashlib
import json
import os
import queue
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time


class RunFailed(Exception):
    """A run ended in a way that says nothing about its optimizer."""


class Runner:
    """Runs specs; `data` is what contest.make_data returned."""

    def __init__(self, program, folder, data, jobs):
        self.program, self.folder, self.data = program.resolve(), folder.resolve(), data
        self.version = hashlib.sha256(self.program.read_bytes()).hexdigest()
        cores = sorted(os.sched_getaffinity(0))
        self.jobs = min(jobs, len(cores))
        self.cores = queue.SimpleQueue()
        for core in cores[-self.jobs:]: # the first core has most of the interrupts
            self.cores.put(core)
        self.results = self.folder / "results"
        self.results.mkdir(parents=True, exist_ok=True)
        self.lock_file = open(self.folder / "lock", "w") # held until the process ends
        try:
            fcntl.flock(self.lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunFailed(f"another comparison is running in {self.folder}") from None
        shutil.rmtree(self.folder / "now", ignore_errors=True) # what a comparison that was stopped left
        self.processes, self.lock, self.stopping = set(), threading.Lock(), False

    def key(self, spec):
        whole = [spec, self.data[spec["name"]][1], self.version]
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:24]

    def find(self, spec):
        """The kept result of a spec, or None."""
        path = self.results / f"{self.key(spec)}.json"
        return json.loads(path.read_text()) if path.exists() else None

    def run_all(self, specs, told):
        """Results of the specs, in their order. told(index, result, n_new) after each run that was made."""
        found = [self.find(spec) for spec in specs]
        missing = [index for index, result in enumerate(found) if result is None]
        pool = concurrent.futures.ThreadPoolExecutor(self.jobs)
        running = {pool.submit(self.run, specs[index]): index for index in missing}
        try:
            for future in concurrent.futures.as_completed(running):
                found[running[future]] = future.result()
                told(running[future], future.result(), len(missing))
        finally: # stopped or failed: what runs is ended, what waits is not begun
            self.stop()
            pool.shutdown(cancel_futures=True)
            self.stopping = False
        return found

    def stop(self):
        with self.lock:
            self.stopping = True
            for process in self.processes:
                process.send_signal(signal.SIGKILL)

    def run(self, spec):
        key = self.key(spec)
        folder = self.folder / "now" / key
        folder.mkdir(parents=True)
        job = dict(spec, data={**spec["data"], **self.data[spec["name"]][0]})
        (folder / "job.yaml").write_text("".join(f"{name}: {json.dumps(part)}\n" for name, part in job.items()))
        core = self.cores.get()
        try:
            code, wall_s, cpu_s = self.execute(folder, core)
        finally:
            self.cores.put(core)
        said = (folder / "said").read_text(errors="replace")
        diverged = code != 0 and "TRI_EDIVERGED" in said
        if code != 0 and not diverged:
            raise RunFailed(f"{folder / 'job.yaml'}: exit {code}\n{said[-3000:]}")
        result = {"spec": spec, "diverged": diverged, "wall_s": wall_s, "cpu_s": cpu_s,
                  **read_metrics(folder / "run" / "metrics.jsonl")}
        part = self.results / f"{key}.part"
        part.write_text(json.dumps(result))
        part.replace(self.results / f"{key}.json")
        shutil.rmtree(folder)
        return result

    def execute(self, folder, core):
        """Exit code, seconds from start to end, and how many of them it had the core."""
        os.sched_setaffinity(0, {core}) # of this thread, and of the process it starts
        start_s = time.monotonic()
        with open(folder / "said", "wb") as said:
            with self.lock:
                if self.stopping:
                    raise RunFailed("stopped")
                process = subprocess.Popen([self.program, "train", "job.yaml", "run.dir=run"], cwd=folder,
                                           stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                                           start_new_session=True)
                self.processes.add(process)
        try:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        finally:
            with self.lock:
                self.processes.discard(process)
        return process.returncode, time.monotonic() - start_s, usage.ru_utime + usage.ru_stime


def read_metrics(path):
    """Evaluations with the clock of the steps alone: evaluations, checkpoints and start-up stop it."""
    clock_s, evaluations, step_s = 0.0, [], []
    for line in path.read_text().splitlines() if path.exists() else []:
        row = json.loads(line)
        if "step_s" not in row:
            continue
        clock_s += row["step_s"]
        step_s.append(row["step_s"])
        if row.get("eval_loss") is not None: # null: not finite
            evaluations.append({"step": row["step"], "time_s": clock_s, "samples": row["samples"],
                                "loss": row["eval_loss"]})
    return {"evaluations": evaluations, "step_s": statistics.median(step_s) if step_s else None}


def progress(names):
    """A function for run_all: one line for each run, with the time that is left."""
    began_s, count = time.monotonic(), 0

    def tell(index, result, n_new):
        nonlocal count
        count += 1
        losses = [evaluation["loss"] for evaluation in result["evaluations"]]
        left_s = (time.monotonic() - began_s) / count * (n_new - count)
        best = f"best loss {min(losses):.4f}" if losses else "no loss"
        print(f"[{count}/{n_new}, {int(left_s) // 60}:{int(left_s) % 60:02} left] {names[index]}: {best}"
              f"{', diverged' if result['diverged'] else ''}", file=sys.stderr, flush=True)
    return tell
