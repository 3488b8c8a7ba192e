#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""trace.json: the steps that were asked for, of all ranks, on one clock."""
import json
import sys

import job

RANKS = 4
STEPS = 3


def read(path):
    """Names of processes and tracks, and events by (rank, track)."""
    whole = json.loads(path.read_text())
    ranks, tracks, events = {}, {}, {}
    for event in whole["traceEvents"]:
        place = (event["pid"], event["tid"])
        if event["name"] == "process_name":
            ranks[event["pid"]] = event["args"]["name"]
        elif event["name"] == "thread_name":
            tracks[place] = event["args"]["name"]
        else:
            events.setdefault(place, []).append(event)
    assert whole["otherData"]["lost_events"] == 0, f"{whole['otherData']}"
    return ranks, {(pid, tracks[pid, tid]): found for (pid, tid), found in events.items()}


def nested(events):
    """Events of one track lie beside one another or within one another."""
    slack_us = 0.002  # times are printed with three decimals
    open_ends = []
    for event in sorted(events, key=lambda e: (e["ts"], -e["dur"])):
        end = event["ts"] + event["dur"]
        while open_ends and open_ends[-1] <= event["ts"] + slack_us:
            open_ends.pop()
        assert not open_ends or end <= open_ends[-1] + slack_us, f"{event} overlaps"
        open_ends.append(end)


def named(events, name):
    return [event for event in events if event["name"] == name]


def picture(folder):
    folder.write_spec("job.yaml", {"batch.sequences": 16, "train.trace": STEPS})
    folder.train(RANKS, "runs/traced", "train.steps=8")
    ranks, events = read(folder.path / "runs/traced/trace.json")
    assert ranks == {r: f"rank {r}: data {r}" for r in range(RANKS)}, f"{ranks}"
    for (rank, track), found in events.items():
        nested(found)
        assert all(event["dur"] >= 0 for event in found), f"{rank} {track}"
    world = [named(events[rank, "world"], "all-reduce") for rank in range(RANKS)]
    for rank in range(RANKS):
        compute = events[rank, "compute"]
        for name in ("reading the batch", "forward and backward", "reducing gradients", "update"):
            assert len(named(compute, name)) == STEPS, f"rank {rank}: {name}: {compute}"
        operations = [e for e in compute if e["name"].startswith("backward of micro-batch")]
        assert len(operations) == STEPS * 16 // RANKS // 2, f"{operations}"
        assert len(world[rank]) == STEPS and (rank, "data x context") in events, f"{events.keys()}"
        assert all(event["args"]["bytes"] > 0 and event["args"]["queued_us"] >= 0
                   for event in world[rank])
    # on one clock: no rank leaves an all-reduce before the last one has come
    for calls in zip(*world):
        came = max(call["ts"] for call in calls)
        left = min(call["ts"] + call["dur"] for call in calls)
        assert left > came - 100, f"an all-reduce ended {came - left} us before all were in it"


def waits(folder):
    """The time spent waiting, by kind, is that of the step."""
    folder.write_spec("job.yaml", {"batch.sequences": 16, "parallel.tensor": 2, "parallel.pipeline": 2})
    steps = folder.train(RANKS, "runs/waits", "train.steps=8")
    for step in steps:
        parts = {key: value for key, value in step.items() if key.startswith("exposed_")}
        assert abs(sum(parts.values()) - step["comm_exposed_s"]) < 1e-6, f"{step}"
    kinds = set().union(*(step.keys() for step in steps))
    assert {"exposed_tensor_s", "exposed_pipeline_s"} <= kinds, f"{kinds}"


def short(folder):
    """A run that ends before the steps that were asked for, and one that asks for none."""
    folder.write_spec("job.yaml", {"train.trace": 100})
    folder.train(2, "runs/short", "train.steps=7")
    _, events = read(folder.path / "runs/short/trace.json")
    assert len(named(events[0, "compute"], "update")) == 6, f"{events[0, 'compute']}"
    folder.train(2, "runs/none", "train.steps=6", "train.trace=0")
    assert not (folder.path / "runs/none/trace.json").exists()


if __name__ == "__main__":
    sys.exit(job.main({"picture": picture, "waits": waits, "short": short}, __doc__))
