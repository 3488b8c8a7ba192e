#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""examples/algoperf-small: its score on worked numbers, the trials it draws, its data, and a quick comparison
that is run, stopped and continued."""
import json
import math
import pathlib
import random
import signal
import subprocess
import sys

import job

EXAMPLE = pathlib.Path(__file__).resolve().parents[2] / "examples" / "algoperf-small"
sys.path.insert(0, str(EXAMPLE))
sys.dont_write_bytecode = True
import contest # noqa: E402
import score # noqa: E402


def profile(row, tau):
    """The share of workloads whose ratio is at most tau."""
    return sum(ratio <= tau for ratio in row.values()) / len(row)


def near(found, wanted, what, bound=1e-12):
    assert abs(found - wanted) <= bound, f"{what}: {found}, not {wanted}"


def scores(_):
    """Two workloads, A (100, 200), B (150, 100), C (500, never): 2.5/3, 2.75/3 and 0."""
    ratios = score.ratios({"A": {"1": 100, "2": 200}, "B": {"1": 150, "2": 100}, "C": {"1": 500, "2": math.inf}})
    assert ratios["A"] == {"1": 1, "2": 2} and ratios["B"] == {"1": 1.5, "2": 1}, ratios
    assert ratios["C"] == {"1": 5, "2": math.inf}, ratios
    for name, wanted in (("A", 2.5 / 3), ("B", 2.75 / 3), ("C", 0)):
        near(score.score(ratios[name]), wanted, f"score of {name}")
    near(score.score(ratios["A"]), 0.833333, "the sheet's A", 1e-6)
    near(score.score(ratios["B"]), 0.916667, "the sheet's B", 1e-6)
    # the closed form is the integral of the profile: midpoints, over ratios of all kinds
    chance, n = random.Random(5), 30000
    for _ in range(5):
        row = {str(i): chance.choice((math.inf, 1, 4, chance.uniform(1, 6))) for i in range(4)}
        integral = sum(profile(row, 1 + 3 * (i + 0.5) / n) for i in range(n)) / n
        near(score.score(row), integral, f"score of {row}", 1e-4)
    nobody = score.ratios({"A": {"1": math.inf}, "B": {"1": math.inf}})
    assert score.score(nobody["A"]) == 0 and score.score(nobody["B"]) == 0, nobody
    near(score.speed({"1": 100, "2": 200}, {"1": 400, "2": 200}), 2, "speed")
    assert score.speed({"1": 1.0, "2": math.inf}, {"1": 1.0, "2": 1.0}) is None
    assert score.of_studies([[5, 3], [math.inf, 7], [math.inf, math.inf]]) == 7
    assert score.of_studies([[5, 3], [math.inf, math.inf], [math.inf, math.inf]]) == math.inf
    evaluations = [{"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.0}, {"step": 3, "loss": 2.5}]
    assert score.to_target(evaluations, 2.5, lambda e: e["step"]) == 2
    assert score.to_target(evaluations, 1.9, lambda e: e["step"]) == math.inf


def draws(_):
    """Points are in the ranges, the same for all, other ones for another seed; each twelve optimizers' spec."""
    assert [contest.halton(i, 2) for i in range(1, 6)] == [1 / 2, 1 / 4, 3 / 4, 1 / 8, 5 / 8]
    near(contest.halton(4, 3), 4 / 9, "the fourth number in base 3")
    assert contest.point(1, 1) == contest.point(1, 1) != contest.point(2, 1)
    # two in a row are half the range apart, whatever the shift
    near(abs((contest.point(9, 2)[0] - contest.point(9, 3)[0])) % 1, 0.5, "distance of two trials", 1e-9)
    assert len(contest.OPTIMIZERS) == 12
    for name, space in contest.OPTIMIZERS.items():
        for trial in range(1, 40):
            section, warmup = contest.settings(name, contest.point(1001, trial))
            assert space["lr"][0] <= section["lr"] <= space["lr"][1], section
            assert space["decay"][0] <= section["weight_decay"] <= space["decay"][1], section
            first = section.get("momentum", section.get("betas", [None])[0])
            assert ("beta" in space) == (first is not None), section
            assert first is None or 0.8 <= first <= 0.98, section
            assert 0.02 <= warmup <= 0.2, warmup


def data(folder):
    """The recall task can be solved: each value asked for was named; its least loss is what the text says."""
    tokens = contest.recall_tokens(50, 6)
    assert len(tokens) == 50 * 32 + 1 and max(tokens) < 80
    for start in range(0, 50 * 32, 32):
        named = {}
        for pair in tokens[start:start + 4]:
            key, value = divmod(pair - 16, 8)
            assert 0 <= key < 8, pair
            named[key] = value
        assert len(named) == 4, "a key is named twice"
        for place in range(start + 4, start + 32, 2):
            assert tokens[place + 1] - 8 == named[tokens[place]], f"at {place}"
    best, without = contest.recall_bounds()
    near(best, (math.log(8 * 7 * 6 * 5) + 4 * math.log(8) + 14 * math.log(4)) / 32, "least loss")
    near(without - best, 14 * math.log(8) / 32, "what recalling is worth")
    # every optimizer's settings are ones that the program takes
    made = contest.make_data(folder.path / "data", folder.path / "text.txt")
    for name in contest.OPTIMIZERS:
        section, warmup = contest.settings(name, contest.point(1001, 1))
        spec = contest.job("recall", section, warmup, 1001, 40)
        spec["data"] = {**spec["data"], **made["recall"][0]}
        (folder.path / "job.yaml").write_text(job.yaml_of(spec))
        done = folder.run(None, "check", "job.yaml", "--ranks", "1")
        assert done.code == 0, f"{name}: {done}"


def start(folder, *arguments):
    command = [sys.executable, EXAMPLE / "compare.py", "--program", folder.program, "--text",
               folder.path / "text.txt", "--dir", folder.path / "small", *arguments]
    return subprocess.Popen(command, cwd=folder.path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            start_new_session=True)


def results(folder):
    return {path.name: path.stat().st_mtime_ns for path in (folder.path / "small/results").glob("*.json")}


def quick(folder):
    """Two optimizers on both workloads; again: nothing is run; a lost result is made anew; stopped, it goes on."""
    process = start(folder, "--quick")
    job.wait_for(lambda: (folder.path / "small/results").is_dir() and results(folder), "a first result")
    process.send_signal(signal.SIGTERM)
    done = job.finish(process)
    assert done.code == 128 + signal.SIGTERM, str(done)
    assert not job.processes_of(folder.program), "a run outlived the comparison"
    some = results(folder)
    done = job.finish(start(folder, "--quick"))
    assert done.code == 0, str(done)
    whole = results(folder)
    assert len(whole) == 8 and len(some) < 8 and some.items() <= whole.items(), f"{some}\n{whole}\n{done}"
    rows = [line.split("|") for line in done.out.splitlines() if line.startswith("| `")]
    assert sorted(row[1].strip() for row in rows) == ["`adamw`", "`sgd`"], str(done)
    assert "Seeds: studies 1001; targets 2001" in done.out and "Targets: text " in done.out, str(done)
    assert (folder.path / "small/plot.svg").read_text().count("<circle") == 1 + len(rows)
    lost = next(iter(whole))
    (folder.path / "small/results" / lost).unlink()
    again = job.finish(start(folder, "--quick"))
    assert again.code == 0 and again.err.count("[1/1, ") == 1, str(again)
    changed = {name for name, when in results(folder).items() if whole[name] != when}
    assert changed == {lost}, changed
    third = job.finish(start(folder, "--quick"))
    assert third.code == 0 and "left]" not in third.err and third.out == again.out, str(third)
    values = json.loads((folder.path / "small/results" / lost).read_text())
    steps = [evaluation["step"] for evaluation in values["evaluations"]]
    times = [evaluation["time_s"] for evaluation in values["evaluations"]]
    assert len(steps) >= 3 and steps == sorted(steps) and times == sorted(times) and times[0] > 0, values
    assert times[-1] < values["wall_s"], values


def refused(folder):
    """Options that make no sense; a run that fails says why and is not kept."""
    for arguments, words in ((("--quick", "--docs"), "--docs is for the whole comparison"),
                             (("--optimizers", "adamw,sdg"), "--optimizers sdg: there are sgd,adam,adamw"),
                             (("--trials", "0"), "--trials is from 1 to 1000"),
                             (("--studies", "4"), "--studies from 1 to 3"),
                             (("--text", "none.txt"), "no such file")):
        done = job.finish(start(folder, *arguments))
        assert done.code == 2 and words in done.err, f"{arguments}: {done}"
    (folder.path / "text.txt").write_text("short")
    done = job.finish(start(folder, "--quick"))
    assert done.code == 1 and "exit 2" in done.err and "5 tokens are 0 samples" in done.err, str(done)
    assert not [name for name in results(folder)
                if json.loads((folder.path / "small/results" / name).read_text())["spec"]["name"] == "text"]


if __name__ == "__main__":
    sys.exit(job.main({"scores": scores, "draws": draws, "data": data, "quick": quick, "refused": refused}, __doc__))
