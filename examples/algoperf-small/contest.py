# SPDX-License-Identifier: Apache-2.0
"""What is compared: two workloads, twelve optimizers, the ranges that are searched, and the job of a trial."""
import array
import hashlib
import math
import random

# A run stops after its workload's steps; what a target needed is 3/4 of them (AlgoPerf's rule, the other way
# round: max_runtime is 4/3 of the run that set the target).
TARGET_SHARE = 3 / 4
BASELINES = ("adamw", "sgd")
STUDY_SEEDS = (1001, 1002, 1003)
TARGET_SEEDS = (2001, 2002, 2003, 2004, 2005)
PILOT_SEED = 3001
TRIALS = 5
EVALUATIONS = 20

WORKLOADS = {
    "text": {
        "steps": 200,
        "eval_batches": 6,
        "model": {"family": "llama", "layers": 2, "hidden": 64, "heads": 4, "context": 64},
        "data": {"format": "text", "tokenizer": "bytes", "holdout": 0.05},
        "batch": {"sequences": 16, "micro": 16},
    },
    "recall": {
        "steps": 240,
        "eval_batches": 4,
        "model": {"family": "llama", "layers": 2, "hidden": 64, "heads": 4, "context": 32, "vocab": 80},
        "data": {"format": "uint16"},
        "batch": {"sequences": 32, "micro": 32},
    },
}

# The recall task: a sequence of 32 tokens names 4 of 8 keys, each with one of 8 values (a pair is one token of
# 64), then asks for keys at random, each followed by its value.
KEYS, VALUES, PAIRS, LENGTH = 8, 8, 4, 32
RECALL_SEED, RECALL_TRAIN, RECALL_VALIDATION = 4001, 16384, 512

# Ranges: what a search draws from, evenly in the logarithm. beta: 1 - the first beta, or 1 - momentum. lr: from
# a factor of sqrt(10) below the lower to one above the higher of the rates that `--pilot` found best on the two
# workloads. decay: such that lr * decay is some 1e-5 to 1e-3 where it is decoupled, and little where it is added
# to the gradient.
BETA = (0.02, 0.2)
WARMUP = (0.02, 0.2)  # share of the steps
SECOND_BETA = 0.98    # of all that have one: runs are too short for 0.999
OPTIMIZERS = {
    "sgd": {"lr": (0.055, 0.55), "beta": BETA, "decay": (1e-6, 1e-4), "fixed": {"nesterov": True}},
    "adam": {"lr": (1.7e-3, 1.7e-2), "beta": BETA, "decay": (1e-6, 1e-4)},
    "adamw": {"lr": (1.7e-3, 1.7e-2), "beta": BETA, "decay": (3e-3, 3e-1)},
    "adamax": {"lr": (5.5e-3, 5.5e-2), "beta": BETA, "decay": (1e-6, 1e-4)},
    "adam_atan2": {"lr": (1.7e-3, 1.7e-2), "beta": BETA, "decay": (3e-3, 3e-1)},
    "lamb": {"lr": (5.5e-3, 0.17), "beta": BETA, "decay": (1e-3, 1e-1)},
    "lars": {"lr": (1.7, 55.0), "beta": BETA, "decay": (1e-6, 1e-4)},
    "adafactor": {"lr": (0.017, 0.55), "decay": (1e-4, 1e-2)},
    "lion": {"lr": (5.5e-4, 5.5e-3), "beta": BETA, "decay": (1e-2, 1.0)},
    "adagrad": {"lr": (5.5e-3, 5.5e-2), "decay": (1e-6, 1e-4)},
    "adagrad_norm": {"lr": (0.55, 17.0), "decay": (1e-5, 1e-3), "fixed": {"initial": 0.01}},
    "adagrad_rownorm": {"lr": (0.017, 0.55), "decay": (1e-4, 1e-2)},
}
MOMENTUM = ("sgd", "lars")


def halton(index, base):
    """The index-th number, from 1, of van der Corput's sequence."""
    value, share = 0.0, 1.0
    while index:
        share /= base
        value += share * (index % base)
        index //= base
    return value


def point(seed, trial):
    """Trial, from 1, of a study: a point of the unit cube, the same for every optimizer. Halton's sequence,
    moved around by the study's seed."""
    shift = random.Random(seed)
    return [(halton(trial, base) + shift.random()) % 1 for base in (2, 3, 5, 7)]


def between(bounds, share):
    """From the lower bound (share 0) to the upper one (1), evenly in the logarithm."""
    return float(f"{bounds[0] * (bounds[1] / bounds[0]) ** share:.4g}")


def settings(name, where):
    """What a point of the cube means for an optimizer: its section of the spec, and the share of warm-up."""
    space = OPTIMIZERS[name]
    section = {"name": name, "lr": between(space["lr"], where[0]), "clip": 1.0,
               "weight_decay": between(space["decay"], where[3]), **space.get("fixed", {})}
    if "beta" in space:
        first = round(1 - between(space["beta"], where[1]), 6)
        if name in MOMENTUM:
            section["momentum"] = first
        else:
            section["betas"] = [first, SECOND_BETA]
    return section, between(WARMUP, where[2])


def job(workload, section, warmup, seed, steps):
    """The spec of a run, without the paths of its data."""
    task = WORKLOADS[workload]
    every = max(1, task["steps"] // EVALUATIONS)
    return {
        "name": workload, "seed": seed, "precision": "bf16",
        "model": task["model"], "data": task["data"], "batch": task["batch"],
        "optimizer": section,
        "schedule": {"warmup": max(1, round(warmup * steps)), "decay": "cosine", "final": 0.05},
        "train": {"steps": steps, "eval_every": min(every, steps), "eval_batches": task["eval_batches"],
                  "log_every": steps, "threads": 1, "hang_seconds": 120},
        "checkpoint": {"every": 0, "verify_replicas": False},
    }


def recall_tokens(count, seed):
    """`count` sequences of the recall task, and one token more: the last one's last target."""
    chance = random.Random(seed)
    tokens = array.array("H")
    for _ in range(count):
        keys = chance.sample(range(KEYS), PAIRS)
        values = [chance.randrange(VALUES) for _ in keys]
        tokens.extend(KEYS + VALUES + key * VALUES + value for key, value in zip(keys, values))
        for _ in range((LENGTH - PAIRS) // 2):
            asked = chance.randrange(PAIRS)
            tokens.extend((keys[asked], KEYS + values[asked]))
    tokens.append(tokens[0])
    return tokens


def recall_bounds():
    """Mean loss in nats of one who recalls all values, and of one who knows the rules but recalls none."""
    asked = (LENGTH - PAIRS) // 2
    chosen = sum(math.log(KEYS - i) for i in range(PAIRS)) + PAIRS * math.log(VALUES)
    best = (chosen + asked * math.log(PAIRS)) / LENGTH
    return best, best + asked * math.log(VALUES) / LENGTH


def make_data(folder, text):
    """The workloads' data: paths of their specs, and a digest that stands for the contents."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {"text": {"train": text}}
    paths["recall"] = {"train": folder / "recall-train.bin", "validation": folder / "recall-validation.bin"}
    for index, (key, count) in enumerate((("train", RECALL_TRAIN), ("validation", RECALL_VALIDATION))):
        tokens = recall_tokens(count, RECALL_SEED + index)
        part = paths["recall"][key].with_suffix(".part")
        if array.array("H", [1]).tobytes() != b"\x01\x00":
            tokens.byteswap()
        part.write_bytes(tokens.tobytes())
        part.replace(paths["recall"][key])
    return {name: ({key: str(path.resolve()) for key, path in files.items()},
                   [hashlib.sha256(path.read_bytes()).hexdigest() for path in files.values()])
            for name, files in paths.items()}
