"""`compare A B`: paired differences between two sets of results, on the episodes both have.

A set is a bench directory (results.jsonl) or the directory of a training or an evaluation
(result.json and eval.json). Episodes are common when task and seed are: the same initial state.
"""

from pathlib import Path
from typing import Any

import numpy as np

from agents.benchmarks import results
from agents.benchmarks.result_sets import CompareError, load_rows
from agents.benchmarks.results import Key, Policy, Row, to_score, valid_return
from agents.benchmarks.tables import policy
from agents.evaluation import stats
from agents.evaluation.paired import paired, pooled, unpaired
from agents.reports.tables import Table, difference, number
from agents.runs.directory import plain

Groups = dict[Key, list[Row]]
NAMES = ("agent_a", "clock_a", "agent_b", "clock_b")


def compare(path_a: str | Path, path_b: str | Path) -> Row:
    """Differences A - B: `pairs`, returns on one task; `overall`, scores over tasks.

    Agents and clocks are matched by name; where no name is on both sides and each side has one
    only, those two are compared. Raises CompareError.
    """
    rows_a, rows_b = load_rows(path_a), load_rows(path_b)
    a, b = results.grouped(rows_a), results.grouped(rows_b)
    merged = {key: [*a.get(key, []), *b.get(key, [])] for key in [*a, *b]}
    pairs, overall = [], []
    for mine, theirs in _matched(a, b):
        names = dict(zip(NAMES, (*mine, *theirs), strict=True))
        scores = []
        for task in sorted({key[0] for key in a} & {key[0] for key in b}):
            of_a, of_b = a.get((task, *mine), []), b.get((task, *theirs), [])
            returns = results.in_common(of_a, of_b)
            if returns.size:
                pairs.append({"task": task, **names, **_pair(of_a, of_b, returns)})
                scores.append(to_score(returns, results.scale(task, merged)))
        known = [s for s in scores if np.isfinite(s).all()]
        if len(known) >= 2:
            overall.append({"tasks": len(known), **names, **_overall(known)})
    if not pairs:
        raise CompareError(
            f"nothing in common between {path_a} ({_inventory(a)}) and {path_b} ({_inventory(b)}); "
            "expected a task, agent, clock and seed with valid episodes in both"
        )
    sides = {"a": _side(path_a, rows_a), "b": _side(path_b, rows_b)}
    return plain({"format": 1, **sides, "pairs": pairs, "overall": overall})


def _pair(of_a: list[Row], of_b: list[Row], returns: np.ndarray) -> Row:
    """Returns [2, n] of A and B on the seeds they have in common, and their trainings."""
    on_a, on_b = results.by_seed(of_a).keys(), results.by_seed(of_b).keys()
    trained = [stats.clean(results.by_training(rows)) for rows in (of_a, of_b)]
    several = min(map(len, trained)) >= 2
    return {
        **_means(*returns),
        **paired(*returns).to_json(),
        "seeds_only_a": len(on_a - on_b),
        "seeds_only_b": len(on_b - on_a),
        "trainings": [*map(len, trained)],
        "across_trainings": unpaired(*trained).to_json() if several else None,
    }


def _overall(scores: list[np.ndarray]) -> Row:
    """Scores [2, n] of A and B on several tasks, which all have a scale."""
    means = zip(*(s.mean(1) for s in scores), strict=True)
    return {**_means(*means), **pooled([s[0] - s[1] for s in scores]).to_json()}


def _means(a: Any, b: Any) -> Row:
    return {"mean_a": stats.mean(a), "mean_b": stats.mean(b)}


def _matched(a: Groups, b: Groups) -> list[tuple[Policy, Policy]]:
    """Pairs of an agent and clock of A with one of B."""
    ours, theirs = results.policies(a), results.policies(b)
    if same := [policy for policy in ours if policy in theirs]:
        return [(policy, policy) for policy in same]
    return list(zip(ours, theirs, strict=True)) if len(ours) == len(theirs) == 1 else []


def _side(path: str | Path, rows: list[Row]) -> Row:
    valid = len(stats.clean([*map(valid_return, rows)]))
    return {"path": str(path), "valid": valid, "asked": len(rows)}


def _inventory(groups: Groups) -> str:
    """The tasks, agents and seeds of a set, in a few words."""
    tasks = sorted({key[0] for key in groups})
    policies = [f"{agent} {clock}" for agent, clock in results.policies(groups)]
    seeds = sorted({str(row["seed"][0]) for rows in groups.values() for row in rows})
    words = [
        ", ".join(part[:3]) + (f" and {len(part) - 3} more" if len(part) > 3 else "")
        for part in (tasks, policies, seeds)
    ]
    return f"{words[0]}; {words[1]}; seeds {words[2]}"


def table(comparison: Row) -> Table:
    """The comparison as a table."""
    sides = [
        f"{name.upper()}: {side['path']}, {side['valid']} of {side['asked']} episodes valid"
        for name, side in (("a", comparison["a"]), ("b", comparison["b"]))
    ]
    columns = {
        "task": lambda p: p.get("task") or f"{p['tasks']} tasks, scores",
        "agent A": lambda p: policy(p["agent_a"], p["clock_a"]),
        "agent B": lambda p: policy(p["agent_b"], p["clock_b"]),
        "A": lambda p: number(p["mean_a"]),
        "B": lambda p: number(p["mean_b"]),
        "A - B": difference,
        "pairs": lambda p: str(p["pairs"]),
    }
    if any(p["across_trainings"] for p in comparison["pairs"]):
        columns["across trainings"] = lambda p: difference(p.get("across_trainings"))
    note = (
        "Differences with 95 % intervals over common seeds, for the models as trained; resolved "
        "unless they say otherwise. An interval takes two common episodes on every task."
    )
    if any(
        p["pairs"] == 1 and p["seeds_only_a"] and p["seeds_only_b"] for p in comparison["pairs"]
    ):
        note += (
            " One common start of many: a bench counts its starts otherwise than an evaluation or "
            "a training, so compare two benches, or two of the others."
        )
    rows = [*comparison["pairs"], *comparison["overall"]]
    return Table.of("; ".join(sides), note, rows, columns)
