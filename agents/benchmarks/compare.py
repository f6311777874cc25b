"""`compare A B`: paired differences between two sets of results, on the episodes both have.

A set is a bench directory (results.jsonl) or the directory of a training or an evaluation
(result.json and eval.json). Episodes are common when task and seed are: the same initial state.
"""

from pathlib import Path

import numpy as np

from agents.benchmarks.result_sets import CompareError, load_rows
from agents.benchmarks.results import (
    FREE,
    Key,
    Row,
    agent_order,
    by_seed,
    by_training,
    grouped,
    in_common,
    scale,
    to_score,
    valid_return,
)
from agents.evaluation import stats
from agents.evaluation.paired import paired, pooled, unpaired
from agents.runs.directory import plain

Groups = dict[Key, list[Row]]
Policy = tuple[str, str]  # agent, clock


def compare(path_a: str | Path, path_b: str | Path) -> Row:
    """Differences A - B: `pairs`, returns on one task; `overall`, scores over tasks.

    Agents and clocks are matched by name; where no name is on both sides and each side has one
    only, those two are compared. Raises CompareError.
    """
    rows_a, rows_b = load_rows(path_a), load_rows(path_b)
    a, b = grouped(rows_a), grouped(rows_b)
    both = [
        (task, mine, theirs)
        for mine, theirs in _matched(a, b)
        for task in sorted({key[0] for key in a} & {key[0] for key in b})
        if in_common(a.get((task, *mine), []), b.get((task, *theirs), [])).size
    ]
    if not both:
        raise CompareError(
            f"nothing in common between {path_a} ({_inventory(a)}) and {path_b} ({_inventory(b)}); "
            "expected a task, agent, clock and seed with valid episodes in both"
        )
    found = {
        "format": 1,
        "a": _side(path_a, rows_a),
        "b": _side(path_b, rows_b),
        "pairs": [_pair(task, mine, theirs, a, b) for task, mine, theirs in both],
        "overall": _overall(both, a, b),
    }
    return plain(found)


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


def _pair(task: str, mine: Policy, theirs: Policy, a: Groups, b: Groups) -> Row:
    of_a, of_b = a[task, *mine], b[task, *theirs]
    on_a, on_b = by_seed(of_a).keys(), by_seed(of_b).keys()
    x, y = in_common(of_a, of_b)
    trained_a, trained_b = (stats.clean(by_training(rows)) for rows in (of_a, of_b))
    several = min(len(trained_a), len(trained_b)) >= 2
    return {
        "task": task,
        **_names(mine, theirs),
        "mean_a": stats.mean(x),
        "mean_b": stats.mean(y),
        **paired(x, y).to_json(),
        "seeds_only_a": len(on_a - on_b),
        "seeds_only_b": len(on_b - on_a),
        "trainings": [len(trained_a), len(trained_b)],
        "across_trainings": unpaired(trained_a, trained_b).to_json() if several else None,
    }


def _overall(both: list[tuple[str, Policy, Policy]], a: Groups, b: Groups) -> list[Row]:
    """Mean difference of scores over the tasks that have a scale, where there are two or more."""
    merged = {key: [*a.get(key, []), *b.get(key, [])] for key in [*a, *b]}
    found = []
    for mine, theirs in dict.fromkeys(pair[1:] for pair in both):
        scores = [
            to_score(in_common(a[task, *mine], b[task, *theirs]), scale(task, merged))
            for task, *pair in both
            if pair == [mine, theirs]
        ]
        scores = [s for s in scores if np.isfinite(s).all()]
        if len(scores) >= 2:
            means = np.mean([s.mean(1) for s in scores], 0)
            names = {**_names(mine, theirs), "mean_a": means[0], "mean_b": means[1]}
            gap = pooled([s[0] - s[1] for s in scores])
            found.append({"tasks": len(scores), **names, **gap.to_json()})
    return found


def _matched(a: Groups, b: Groups) -> list[tuple[Policy, Policy]]:
    """Which agent and clock of A stands against which of B."""
    ours, theirs = ({key[1:] for key in groups} for groups in (a, b))
    same = sorted(ours & theirs, key=lambda policy: agent_order(*policy))
    if same:
        return [(policy, policy) for policy in same]
    alone = len(ours) == len(theirs) == 1
    return list(zip(ours, theirs, strict=True)) if alone else []


def _names(mine: Policy, theirs: Policy) -> Row:
    return {"agent_a": mine[0], "clock_a": mine[1], "agent_b": theirs[0], "clock_b": theirs[1]}


def _side(path: str | Path, rows: list[Row]) -> Row:
    valid = sum(bool(np.isfinite(valid_return(r))) for r in rows)
    return {"path": str(path), "valid": valid, "asked": len(rows)}


def _inventory(groups: Groups) -> str:
    """What a set holds, in a few words."""
    tasks = sorted({key[0] for key in groups})
    policies = sorted({key[1:] for key in groups}, key=lambda policy: agent_order(*policy))
    seeds = {str(row["seed"][0]) for rows in groups.values() for row in rows}
    parts = (tasks, [f"{agent} {clock}" for agent, clock in policies], sorted(seeds))
    words = [", ".join(p[:3]) + (f" and {len(p) - 3} more" if len(p) > 3 else "") for p in parts]
    return f"{words[0]}; {words[1]}; seeds {words[2]}"
