# SPDX-License-Identifier: Apache-2.0
"""AlgoPerf's score: times to a target, relative to the best, and the area below the performance profile.

A time that was never reached is math.inf. Nothing here knows what the times are of.
"""
import math
import statistics

MISSED = math.inf
WORST = 4.0  # r_max: a ratio beyond it counts as missed


def to_target(evaluations, target, of):
    """The first evaluation at or below the target: what `of` says of it (its time, its step), or MISSED."""
    for evaluation in evaluations:
        if evaluation["loss"] <= target:
            return of(evaluation)
    return MISSED


def of_studies(studies):
    """Median over studies of the least over trials."""
    return statistics.median(min(trials) for trials in studies)


def ratios(times):
    """times[who][workload] over the least of that workload; MISSED where nobody reached it."""
    names = next(iter(times.values())).keys()
    best = {name: min(row[name] for row in times.values()) for name in names}
    return {who: {name: row[name] / best[name] if row[name] < MISSED else MISSED for name in names}
            for who, row in times.items()}


def score(row, worst=WORST):
    """1/(worst - 1) of the integral of the profile, the share of workloads whose ratio is at most tau, over tau
    from 1 to worst, in closed form."""
    return sum(max(0.0, (worst - ratio) / (worst - 1)) for ratio in row.values()) / len(row)


def speed(row, base):
    """Geometric mean over workloads of how many times faster than `base`; None where one missed a target."""
    if MISSED in row.values() or MISSED in base.values():
        return None
    return math.exp(statistics.fmean(math.log(base[name] / row[name]) for name in row))
