"""Rows of results.jsonl: in order, by task, agent and clock, paired, and on a scale from 0 to 1."""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from agents.benchmarks.config import AGENTS
from agents.evaluation import stats
from agents.evaluation.paired import Difference, paired

Row = dict[str, Any]
Key = tuple[str, str, str]
"""Task, agent, clock."""
Policy = tuple[str, str]
"""Agent, clock."""
FREE = "free"


def grouped(rows: Iterable[Row]) -> dict[Key, list[Row]]:
    """Rows by task, agent and clock, sorted; of rows with one `key`, one."""
    ordered = sorted(rows, key=_row_order)
    groups: dict[Key, list[Row]] = {}
    seen = set()
    for row in ordered:
        if row["key"] not in seen:
            seen.add(row["key"])
            groups.setdefault((row["task"], row["agent"], row["clock"]), []).append(row)
    return groups


def valid_return(row: Row) -> float:
    """The return of an episode, NaN when it does not count."""
    return float(row["return"]) if row["valid"] and row["return"] is not None else float("nan")


def by_seed(rows: Sequence[Row]) -> dict[int, float]:
    """Evaluation seed to the mean valid return on it, over the trained models."""
    found = _means(rows, "seed")
    return {seed: mean for seed, mean in found.items() if np.isfinite(mean)}


def by_training(rows: Sequence[Row]) -> list[float]:
    """Mean valid return of each trained model; NaN without a valid episode."""
    return list(_means(rows, "train_seed").values())


def _means(rows: Sequence[Row], name: str) -> dict[Any, float]:
    """Mean valid returns of the rows with one value of `name`."""
    found: dict[Any, list[float]] = {}
    for row in rows:
        found.setdefault(row[name], []).append(valid_return(row))
    return {value: stats.mean(returns) for value, returns in found.items()}


def in_common(a: Sequence[Row], b: Sequence[Row]) -> np.ndarray:
    """Mean valid returns of A and of B on the evaluation seeds both have, in order, [2, n]."""
    of_a, of_b = by_seed(a), by_seed(b)
    common = sorted(of_a.keys() & of_b.keys())
    return np.array([[of[seed] for seed in common] for of in (of_a, of_b)])


def difference(
    a: Sequence[Row], b: Sequence[Row], confidence: float = stats.CONFIDENCE
) -> Difference:
    """Difference of returns A - B on the evaluation seeds both have."""
    of_a, of_b = in_common(a, b)
    return paired(of_a, of_b, confidence)


def is_gymnasium(task: str) -> bool:
    """Whether a task's returns have no fixed range (Gymnasium's own ids end in a version)."""
    return bool(re.search(r"-v\d+$", task)) and not task.startswith("latentmpc/")


def scale(task: str, groups: dict[Key, list[Row]]) -> Row:
    """The returns that score 0 (`low`) and 1 (`high`); None where nothing sets them.

    DMControl: 0 and 1000. Gymnasium: random actions, and the oracle or else the best agent.
    """
    if not is_gymnasium(task):
        return {"low": 0.0, "high": 1000.0, "high_is": "the most there is"}
    means = {}
    for (name, agent, clock), rows in groups.items():
        if name == task and (clock == FREE or agent not in means):
            means[agent] = stats.mean([valid_return(r) for r in rows])
    low = means.pop("random", float("nan"))
    known = {agent: value for agent, value in means.items() if np.isfinite(value)}
    best = "oracle" if "oracle" in known else max(known, key=lambda a: (known[a], a), default="")
    high = means.get(best, float("nan"))
    if not high > low:
        return {"low": None, "high": None, "high_is": None}
    return {"low": low, "high": high, "high_is": best}


def to_score(returns: Any, of: Row) -> np.ndarray:
    """Returns on the scale of their task; NaN on a task without one."""
    if of["low"] is None:
        return np.full(np.shape(returns), np.nan)
    return (np.asarray(returns, float) - of["low"]) / (of["high"] - of["low"])


def policies(keys: Iterable[Key]) -> list[Policy]:
    """Agents and clocks, in order."""
    return sorted({key[1:] for key in keys}, key=lambda policy: agent_order(*policy))


def agent_order(agent: str, clock: str) -> tuple:
    """Sort key: agents as in AGENTS; free compute first, then clocks by their time."""
    kind, _, rest = clock.partition(":")
    known = AGENTS.index(agent) if agent in AGENTS else len(AGENTS)
    milliseconds = float(rest) if re.fullmatch(r"\d+(\.\d+)?", rest) else 0.0
    return known, agent, kind != FREE, kind, milliseconds, rest


def _row_order(row: Row) -> tuple:
    training = -1 if row["train_seed"] is None else row["train_seed"]
    which = (row["task"], *agent_order(row["agent"], row["clock"]))
    return *which, training, row["episode"], row["seed"], canonical(row)


def canonical(value: Any) -> str:
    """One text for equal values."""
    return json.dumps(value, sort_keys=True)
