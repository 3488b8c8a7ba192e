#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A small time-to-target comparison of all optimizers, in AlgoPerf's spirit: docs/algoperf-small.md.

examples/algoperf-small/run.sh builds what this needs and starts it; Python's standard library only. What has
been run is kept (below --dir) and not run again; Ctrl-C and the same command: it goes on where it was.
"""
import argparse
import collections
import math
import os
import pathlib
import re
import signal
import statistics
import sys
import time

import chart
import contest
import runs
import score

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE, PICTURE = ROOT / "docs" / "algoperf-small.md", ROOT / "docs" / "algoperf-small.svg"
MEASURES = ("time_s", "step", "samples")

Trial = collections.namedtuple("Trial", "workload optimizer study trial")


class Contest:
    """A comparison of a certain size: which runs it takes, and what they come to."""

    def __init__(self, runner, arguments):
        self.runner, self.quick = runner, arguments.quick
        self.optimizers = list(arguments.optimizers)
        self.workloads = list(contest.WORKLOADS)
        self.studies = contest.STUDY_SEEDS[:arguments.studies]
        self.n_trials = arguments.trials
        self.target_seeds = contest.TARGET_SEEDS[:1 if arguments.quick else None]
        self.had_core = math.nan

    def steps(self, workload):
        return contest.WORKLOADS[workload]["steps"] // (5 if self.quick else 1)

    def spec(self, trial):
        section, warmup = contest.settings(trial.optimizer, contest.point(trial.study, trial.trial))
        return contest.job(trial.workload, section, warmup, trial.study, self.steps(trial.workload))

    def trials(self):
        """All runs that are compared, and those of the baselines. Neighbours in time are different
        optimizers: what disturbs the machine for a while disturbs all of them."""
        names = [*self.optimizers, *(name for name in contest.BASELINES if name not in self.optimizers)]
        return [Trial(workload, name, study, trial) for trial in range(1, self.n_trials + 1)
                for study in self.studies for workload in self.workloads for name in names]

    def run(self):
        """Results by Trial."""
        trials = self.trials()
        names = [f"{t.workload} {t.optimizer} seed {t.study} trial {t.trial}" for t in trials]
        return dict(zip(trials, self.runner.run_all([self.spec(t) for t in trials], runs.progress(names))))

    def targets(self, results):
        """Of each workload: the baselines' best trials, run again with other seeds for 3/4 of the steps; the
        median over seeds of the best loss; the lower one of the baselines'."""
        specs, names = {}, []
        for workload in self.workloads:
            for name in contest.BASELINES:
                best = min((t for t in results if t.workload == workload and t.optimizer == name),
                           key=lambda t: best_loss(results[t]))
                section, warmup = contest.settings(name, contest.point(best.study, best.trial))
                steps = round(self.steps(workload) * contest.TARGET_SHARE)
                for seed in self.target_seeds:
                    specs[workload, name, seed] = contest.job(workload, section, warmup, seed, steps)
                    names.append(f"{workload} {name} seed {seed}, for the target")
        found = dict(zip(specs, self.runner.run_all(list(specs.values()), runs.progress(names))))
        reached = {(workload, name): statistics.median(best_loss(found[workload, name, seed])
                                                       for seed in self.target_seeds)
                   for workload in self.workloads for name in contest.BASELINES}
        self.had_core = share_of_core([*results.values(), *found.values()])
        targets = {workload: min((reached[workload, name], name) for name in contest.BASELINES)
                   for workload in self.workloads}
        for workload, (value, _) in targets.items():
            if math.isinf(value):
                raise runs.RunFailed(f"{workload}: no baseline ({', '.join(contest.BASELINES)}) has a finite loss, "
                                     "so there is no target")
        return targets

    def rows(self, results, targets):
        """What the table is made of: of each optimizer and workload times, steps and samples to the target."""
        found = {}
        for name in self.optimizers:
            for workload in self.workloads:
                studies = [[results[Trial(workload, name, study, trial)]
                            for trial in range(1, self.n_trials + 1)] for study in self.studies]
                target = targets[workload][0]
                values = {of: score.of_studies([[score.to_target(run["evaluations"], target, lambda e: e[of])
                                                 for run in trials] for trials in studies]) for of in MEASURES}
                every = [run for trials in studies for run in trials]
                timed = [run["step_s"] for run in every if run["step_s"] is not None]
                values["step_s"] = statistics.median(timed) if timed else math.nan
                values["hits"] = sum(best_loss(run) <= target for run in every)
                values["loss"] = score.of_studies([[best_loss(run) for run in trials] for trials in studies])
                found[name, workload] = values
        return found


def best_loss(result):
    return min((evaluation["loss"] for evaluation in result["evaluations"]), default=math.inf)


def share_of_core(results):
    """The tenth percentile over runs of the share of its time that a run had its core for itself."""
    shares = sorted(result["cpu_s"] / result["wall_s"] for result in results)
    return shares[len(shares) // 10]


def number(value, form):
    return "&infin;" if math.isinf(value) else format(value, form)


def table(contestants, rows, ratios, scores):
    """The Markdown table, best score first."""
    workloads = contestants.workloads
    lines = ["| optimizer | score | speed |" + "".join(
        f" {w}: s | steps | samples | ms a step | trials | loss |" for w in workloads),
        "|---|--:|--:|" + "--:|" * 6 * len(workloads)]
    base = {w: rows["adamw", w]["time_s"] for w in workloads} if "adamw" in contestants.optimizers else None
    for name in order(contestants, scores, ratios):
        times = {w: rows[name, w]["time_s"] for w in workloads}
        speed = score.speed(times, base) if base else None
        line = f"| `{name}` | {scores[name]:.3f} | {f'{speed:.2f}' if speed else '&ndash;'} |"
        for w in workloads:
            row = rows[name, w]
            line += (f" {number(row['time_s'], '.2f')} | {number(row['step'], '.0f')} |"
                     f" {number(row['samples'], '.0f')} | {row['step_s'] * 1e3:.2f} |"
                     f" {row['hits']}/{contestants.n_trials * len(contestants.studies)} |"
                     f" {number(row['loss'], '.3f')} |")
        lines.append(line)
    return lines


def order(contestants, scores, ratios):
    """Best score first; of equal ones the one with the lesser ratios."""
    return sorted(contestants.optimizers, key=lambda name: (-scores[name], sorted(ratios[name].values()), name))


def spaces():
    """The Markdown table of what is searched."""
    lines = ["| optimizer | learning rate | 1 - beta | weight decay | fixed |", "|---|---|---|---|---|"]
    for name, space in contest.OPTIMIZERS.items():
        fixed = {**space.get("fixed", {})}
        if "beta" in space and name not in contest.MOMENTUM:
            fixed["second beta"] = contest.SECOND_BETA
        shown = {key: f"{space[key][0]:g} to {space[key][1]:g}" if key in space else "none"
                 for key in ("lr", "beta", "decay")}
        words = ", ".join(f"{key} {str(value).lower()}" for key, value in fixed.items())
        lines.append(f"| `{name}` | {shown['lr']} | {shown['beta']} | {shown['decay']} | {words} |")
    return lines


def machine():
    """Processor and cores."""
    model = re.search(r"model name\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return f"{model.group(1).strip() if model else os.uname().machine}, {os.cpu_count()} cores"


def report(contestants, results):
    """Target line, table and picture of a comparison that has been run."""
    targets = contestants.targets(results)
    rows = contestants.rows(results, targets)
    ratios = score.ratios({name: {w: rows[name, w]["time_s"] for w in contestants.workloads}
                           for name in contestants.optimizers})
    scores = {name: score.score(ratios[name]) for name in contestants.optimizers}
    best, without = contest.recall_bounds()
    said = ["Targets: " + ", ".join(f"{w} {value:.4f} nats (set by {name})" for w, (value, name) in targets.items())
            + f". A loss of {best:.4f} is the least that is possible for recall, {without:.4f} that of one who "
            "recalls nothing.",
            "",
            f"Seeds: studies {', '.join(map(str, contestants.studies))}; targets "
            f"{', '.join(map(str, contestants.target_seeds))}; recall's data {contest.RECALL_SEED}, "
            f"{contest.RECALL_SEED + 1}. {contestants.n_trials} trials a study, {len(contestants.trials())} runs "
            f"compared, of {', '.join(f'{contestants.steps(w)} steps ({w})' for w in contestants.workloads)}; "
            f"{contestants.runner.jobs} at a time, one thread each, on {machine()}. Nine tenths of the runs had "
            f"their core for at least {100 * contestants.had_core:.0f} % of their time."]
    drawn = chart.draw([(name, ratios[name], scores[name]) for name in order(contestants, scores, ratios)],
                       contestants.workloads, score.WORST)
    return [*table(contestants, rows, ratios, scores), "", *said], drawn


def write_docs(lines, drawn):
    """Put both tables between their marks in the page, and the picture beside it."""
    page = PAGE.read_text()
    shown = [f"![Ratios of times to the target, and profiles]({PICTURE.name})", "", *lines]
    for mark, words in (("table", shown), ("spaces", spaces())):
        pattern = rf"(<!-- {mark}: [^\n]*-->\n).*?(<!-- end of {mark} -->)"
        page, count = re.subn(pattern, lambda m: m.group(1) + "\n".join(words) + "\n" + m.group(2), page,
                              flags=re.DOTALL)
        if count != 1:
            sys.exit(f"error: {PAGE} has {count} places marked {mark}; there must be one")
    PAGE.write_text(page)
    PICTURE.write_text(drawn)


def pilot(contestants):
    """For whom sets the ranges: the best of seven learning rates, a factor of sqrt(10) apart, around the middle
    of each range, all else in the middle of its range, with a seed of its own."""
    specs, names = [], []
    for workload in contestants.workloads:
        for name in contestants.optimizers:
            low, high = contest.OPTIMIZERS[name]["lr"]
            for place in range(-3, 4):
                section, warmup = contest.settings(name, (0.5, 0.5, 0.5, 0.5))
                section["lr"] = float(f"{math.sqrt(low * high) * 10 ** (place / 2):.3g}")
                specs.append(contest.job(workload, section, warmup, contest.PILOT_SEED, contestants.steps(workload)))
                names.append(f"{workload} {name} lr {section['lr']:g}")
    found = contestants.runner.run_all(specs, runs.progress(names))
    for place in range(0, len(specs), 7):
        losses = [(best_loss(found[place + i]), specs[place + i]["optimizer"]["lr"]) for i in range(7)]
        words = "  ".join(f"{lr:g} {loss:.3f}{'*' if loss == min(losses)[0] else ''}" for loss, lr in losses)
        print(f"{specs[place]['name']:7} {specs[place]['optimizer']['name']:16} {words}")


def parse(words):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two optimizers, one trial, few steps: a test")
    parser.add_argument("--docs", action="store_true", help="put table and picture into docs/")
    parser.add_argument("--pilot", action="store_true", help="print the learning rates that the ranges go by")
    parser.add_argument("--optimizers", type=lambda text: text.split(","), metavar="A,B", help="some of them")
    parser.add_argument("--trials", type=int, metavar="N", help=f"trials of a study ({contest.TRIALS})")
    parser.add_argument("--studies", type=int, metavar="N", help=f"studies ({len(contest.STUDY_SEEDS)})")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="runs at a time, each on its own core (2)")
    parser.add_argument("--dir", type=pathlib.Path, default=ROOT / "runs" / "algoperf-small",
                        help="where results are kept")
    parser.add_argument("--program", type=pathlib.Path, default=ROOT / "build" / "quickstart" / "trireme")
    parser.add_argument("--text", type=pathlib.Path, default=ROOT / "examples" / "quickstart" / "data" / "kjv.txt")
    found = parser.parse_args(words)
    if found.docs and (found.quick or found.optimizers or found.trials or found.studies):
        parser.error("--docs is for the whole comparison: not with --quick, --optimizers, --trials or --studies")
    found.optimizers = found.optimizers or (["adamw", "sgd"] if found.quick else list(contest.OPTIMIZERS))
    found.trials = found.trials if found.trials is not None else 1 if found.quick else contest.TRIALS
    found.studies = found.studies if found.studies is not None else 1 if found.quick else len(contest.STUDY_SEEDS)
    unknown = set(found.optimizers) - set(contest.OPTIMIZERS)
    if unknown:
        parser.error(f"--optimizers {','.join(sorted(unknown))}: there are {','.join(contest.OPTIMIZERS)}")
    if not 1 <= found.trials <= 1000 or not 1 <= found.studies <= len(contest.STUDY_SEEDS) or found.jobs < 1:
        parser.error(f"--trials is from 1 to 1000, --studies from 1 to {len(contest.STUDY_SEEDS)}, --jobs 1 or more")
    for path, what in ((found.program, "--program"), (found.text, "--text")):
        if not path.is_file():
            parser.error(f"{what} {path}: no such file; examples/algoperf-small/run.sh makes it")
    return found


def main(words):
    arguments = parse(words)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    began_s = time.monotonic()
    try:
        data = contest.make_data(arguments.dir / "data", arguments.text)
        contestants = Contest(runs.Runner(arguments.program, arguments.dir, data, arguments.jobs), arguments)
        if arguments.pilot:
            pilot(contestants)
            return 0
        lines, drawn = report(contestants, contestants.run())
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return 130
    except runs.RunFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("\n".join(lines))
    (arguments.dir / "table.md").write_text("\n".join(lines) + "\n")
    (arguments.dir / "plot.svg").write_text(drawn)
    if arguments.docs:
        write_docs(lines, drawn)
    print(f"{time.monotonic() - began_s:.0f} s; table.md and plot.svg are in {arguments.dir}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
