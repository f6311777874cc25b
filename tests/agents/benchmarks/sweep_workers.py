"""Stand-ins for training and evaluation: returns and latencies that a formula gives."""

import random
import time
from pathlib import Path

LUCK = {seed: (seed * 7919) % 100 for seed in range(1000, 1100)}
WORTH = {1: 300.0, 2: 700.0, 3: 800.0, 5: 801.0, 12: 100.0}


def expected(planner, seed, bonus=0.0):
    """Return of an episode: what the horizon is worth, the start's luck, a little noise."""
    horizon, samples = planner.get("horizon", 3), planner.get("num_samples", 128)
    noise = random.Random(f"{horizon} {samples} {seed}").gauss(0, 5)
    return WORTH[horizon] + samples / 100 + LUCK[seed] + noise + bonus


def milliseconds(planner):
    return planner.get("horizon", 3) * planner.get("num_samples", 128) / 128


def play(point):
    """A training makes a model; an evaluation follows the formula."""
    if point["kind"] == "train":
        return train(point)
    with open(Path(point["checkpoint"], "log"), "a") as log:
        log.write(f"{sorted(point['planner'].items())} {point['seeds']}\n")
    planner, bonus = point["planner"], 50.0 if "/out/train/" in point["checkpoint"] else 0.0
    p99 = milliseconds(planner)
    rows = [
        {
            "key": str(i),
            "task": point["task"],
            "agent": point["agent"],
            "clock": point["clock"],
            "train_seed": point["train_seed"],
            "episode": i,
            "seed": seed,
            "return": expected(planner, seed, bonus),
            "success": None,
            "length": 500,
            "valid": True,
            "plan_ms": {"p50": 0.8 * p99, "p95": 0.9 * p99, "p99": p99},
            "deadline_misses": None,
        }
        for i, seed in enumerate(point["seeds"])
    ]
    return {"rows": rows, "compile_s": 0.5, "planner": planner}


def train(point):
    found = Path(point["config"]["run_dir"], "checkpoints", "000000100")
    found.mkdir(parents=True, exist_ok=True)
    (found / "MANIFEST.json").write_text(found.parents[1].name)
    (found / "config.json").write_text("{}")
    return {"run_dir": str(found)}


def short_horizons_fail(point):
    if point["planner"].get("horizon") == 1:
        raise ValueError("no such <horizon>")
    return play(point)


def everything_fails(point):
    raise ValueError("nothing works")


def interrupted(point):
    """Ctrl-C in the second round."""
    if point["seeds"][0] > 1000 and point["planner"].get("horizon") == 5:
        raise KeyboardInterrupt
    return play(point)


def held(point):
    """Plays, but for one setting, which waits as long as there is a file `hold` at the model."""
    model = Path(point["checkpoint"])
    if point["planner"].get("horizon") == 5 and (model / "hold").exists():
        (model / "holding").touch()
        time.sleep(600)
    return play(point)
