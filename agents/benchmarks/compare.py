"""`compare A B`: paired differences between two sets of results, on the episodes both have.

A set is a bench directory (results.jsonl) or the directory of a training or an evaluation
(result.json and eval.json). Episodes are common when task and seed are: the same initial state.
"""

from pathlib import Path
from typing import Any

import numpy as np

from agents.benchmarks import results
from agents.benchmarks.result_sets import CompareError, load_rows
from agents.benchmarks.results import FREE, Key, Policy, Row, to_score, valid_return
from agents.evaluation import stats
from agents.evaluation.paired import paired, pooled, unpaired
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


def lines(comparison: Row) -> list[str]:
    """The comparison in plain text."""
    sides = [
        f"{name.upper()}: {side['path']}, {side['valid']} of {side['asked']} episodes valid"
        for name, side in (("a", comparison["a"]), ("b", comparison["b"]))
    ]
    return [
        *sides,
        *[_line(pair, pair["task"]) for pair in comparison["pairs"]],
        *[_line(o, f"over {o['tasks']} tasks, scores") for o in comparison["overall"]],
        "Differences are A - B with 95 % intervals over common seeds, for the models as trained.",
    ]


def verdict(pair: Row) -> str:
    """Whether a difference is resolved, and what would resolve it."""
    if pair["resolved"]:
        return f"resolved, {'A' if pair['difference'] > 0 else 'B'} is higher"
    if pair.get("pairs") == 1 and pair.get("seeds_only_a") and pair.get("seeds_only_b"):
        return (
            "not resolved: one common start of many, as a bench counts its starts otherwise than "
            "an evaluation or a training: compare two benches, or two of the others"
        )
    if pair["ci95"][0] is None:
        return "not resolved: an interval takes two common episodes on every task"
    if pair["needed"] is None:
        return "not resolved: there is no difference"
    return f"not resolved: a difference of this size would take about {pair['needed']:,} episodes"


def _line(pair: Row, what: str) -> str:
    low, high = (_text(x) for x in pair["ci95"])
    between = f"{pair['agent_a']}, {_clock(pair['clock_a'])}"
    if (pair["agent_a"], pair["clock_a"]) != (pair["agent_b"], pair["clock_b"]):
        between += f" against {pair['agent_b']}, {_clock(pair['clock_b'])}"
    text = (
        f"{what} ({between}): A {_text(pair['mean_a'])}, B {_text(pair['mean_b'])}, "
        f"A - B {_text(pair['difference'])} [{low}, {high}] on {pair['pairs']} pairs; "
        f"{verdict(pair)}"
    )
    if across := pair.get("across_trainings"):
        low, high = (_text(x) for x in across["ci95"])
        known = "" if across["resolved"] else "not "
        text += f"; across trainings [{low}, {high}], {known}resolved"
    return text


def _clock(clock: str) -> str:
    return "free compute" if clock == FREE else f"clock {clock}"


def _text(value: float | None) -> str:
    if value is None:
        return "unknown"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.4g}"
