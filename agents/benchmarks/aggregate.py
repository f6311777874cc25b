"""From the rows of results.jsonl to a summary: JSON-ready, and the same for any order of rows.

A *run* is what intervals are taken over: the mean over the valid episodes of one training seed
where an agent has two or more of them on every task, else one episode (agents that are not
trained, or were trained once). `unit` says which; over episodes, an interval covers the luck of
the start and none of the luck of training.
"""

from collections.abc import Iterable
from itertools import chain, combinations

import numpy as np

from agents.benchmarks import results
from agents.benchmarks.results import FREE, Key, Policy, Row, difference, to_score, valid_return
from agents.evaluation import stats
from agents.runs.directory import plain

BASELINES = ("random", "zero")
PROFILE_LEVELS = 51
Strata = dict[Policy, list[np.ndarray]]
"""Scores of the runs of every agent and clock, an array a task."""


def aggregate(rows: Iterable[Row], failures: Iterable[Row] = (), *, seed: int = 0) -> Row:
    """Summary of a bench: `cells` a task, agent and clock; over tasks; pairs; gaps; clock costs.

    `failures` are runs that made no rows: {"task", "agent", "reason"} and whatever else names
    them. What cannot be known is None.
    """
    groups = results.grouped(rows)
    tasks = sorted({task for task, _, _ in groups})
    policies = results.policies(groups)
    scales = {task: results.scale(task, groups) for task in tasks}
    units = {policy: _unit(groups, policy) for policy in policies}
    runs = {
        key: results.by_training(found)
        if units[key[1:]] == "training"
        else list(map(valid_return, found))
        for key, found in groups.items()
    }
    scores = {key: to_score(found, scales[key[0]]) for key, found in runs.items()}
    strata = {p: [scores.get((task, *p), np.array([])) for task in tasks] for p in policies}
    cells = [
        {
            **dict(zip(("task", "agent", "clock"), key, strict=True)),
            "unit": units[key[1:]],
            "score_mean": stats.mean(scores[key]),
            **_returns(runs[key], seed),
            **_episodes(groups[key]),
        }
        for key in groups
    ]
    summary = {
        "format": 1,
        "tasks": tasks,
        "agents": list(dict.fromkeys(agent for agent, _ in policies)),
        "clocks": list(dict.fromkeys(clock for _, clock in policies)),
        "episodes_valid": sum(c["episodes_valid"] for c in cells),
        "episodes_asked": sum(c["episodes_asked"] for c in cells),
        "scales": scales,
        "cells": cells,
        "overall": _overall(strata, units, tasks, seed),
        "improvement": _improvement(strata, seed),
        "gaps": _gaps(groups),
        "clock_costs": _clock_costs(groups),
        "failures": sorted(failures, key=results.canonical),
    }
    return plain(summary)


def _returns(runs: list[float], seed: int) -> Row:
    """The returns of an agent's runs on a task."""
    mean, low, high = stats.mean_ci(runs, seed=seed)
    iqm, count = stats.iqm(runs), len(stats.clean(runs))
    return {"runs": count, "return_mean": mean, "return_ci95": [low, high], "return_iqm": iqm}


def _episodes(rows: list[Row]) -> Row:
    """Counts, successes and latencies of an agent's episodes on a task."""
    latencies = [r["plan_ms"] for r in rows if r.get("plan_ms")]
    timed = [r for r in rows if r.get("deadline_misses") is not None]
    return {
        "episodes_valid": len(stats.clean([valid_return(r) for r in rows])),
        "episodes_asked": len(rows),
        "success": _success(rows),
        "plan_ms": _latency(latencies) if latencies else None,
        "deadline_misses": sum(r["deadline_misses"] for r in timed) if timed else None,
        "decisions": sum(r["length"] for r in timed),
    }


def _success(rows: list[Row]) -> Row | None:
    """Rate of success over the valid episodes that tell; None where none does."""
    known = [r["success"] for r in rows if r["valid"] and r.get("success") is not None]
    if not known:
        return None
    count = sum(s >= 0.5 for s in known)
    rate, low, high = stats.wilson(count, len(known))
    return {"rate": rate, "ci95": [low, high], "successes": count, "episodes": len(known)}


def _latency(rows: list[dict[str, float]]) -> dict[str, float]:
    """Median over episodes of each episode's percentile, and the worst p99 of any."""
    found = {q: float(np.median([r[q] for r in rows])) for q in ("p50", "p95", "p99")}
    return found | {"worst_p99": max(r["p99"] for r in rows)}


def _overall(strata: Strata, units: dict[Policy, str], tasks: list[str], seed: int) -> list[Row]:
    """Scores over tasks, an agent and clock each; profiles of all on the same levels."""
    top = stats.clean(np.concatenate([[1.0], *chain.from_iterable(strata.values())])).max()
    levels = np.linspace(0, top, PROFILE_LEVELS)
    found = []
    for (agent, clock), scores in strata.items():
        every = np.concatenate(scores)
        known = stats.clean(every)
        missing = [t for t, x in zip(tasks, scores, strict=True) if not len(stats.clean(x))]
        share, low, high = stats.profile(scores, levels, seed=seed)
        found.append(
            {
                "agent": agent,
                "clock": clock,
                "unit": units[agent, clock],
                "runs": len(known),
                "tasks": len(tasks) - len(missing),
                "tasks_missing": missing,
                "iqm": stats.iqm(every),
                "iqm_ci95": stats.bootstrap(scores, stats.iqm_of, seed=seed),
                "mean": stats.mean(every),
                "mean_ci95": stats.bootstrap(scores, stats.mean_of, seed=seed),
                "median": float(np.median(known)) if len(known) else None,
                "optimality_gap": stats.optimality_gap(every),
                "profile": {"score": levels, "share": share, "low": low, "high": high},
            }
        )
    return found


def _improvement(strata: Strata, seed: int) -> list[Row]:
    """Probability that a run of A beats one of B, for every ordered pair under one clock."""
    found = []
    for ((a, clock), of_a), ((b, other), of_b) in combinations(strata.items(), 2):
        both = zip(of_a, of_b, strict=True)
        count = sum(all(map(len, map(stats.clean, pair))) for pair in both)
        if clock == other and count:
            p, low, high = stats.improvement(of_a, of_b, seed=seed)
            shared = {"clock": clock, "tasks": count}
            found += [
                {"a": a, "b": b, **shared, "probability": p, "ci95": [low, high]},
                {"a": b, "b": a, **shared, "probability": 1 - p, "ci95": [1 - high, 1 - low]},
            ]
    return found


def _gaps(groups: dict[Key, list[Row]]) -> list[Row]:
    """Return that planning adds to the prior, and that model error costs against true dynamics.

    One a task and clock on which the planner stands beside its prior or the oracle. Baselines,
    which take no time, stand in from free compute.
    """
    found = []
    for task, agent, clock in groups:
        beside = {(task, a, clock) for a in ("prior", "oracle")} & groups.keys()
        if agent != "plan" or not beside:
            continue
        rows = {a: groups.get((task, a, clock), []) for a in ("prior", "plan", "oracle")}
        for a in BASELINES:
            rows[a] = groups.get((task, a, clock)) or groups.get((task, a, FREE), [])
        found.append(
            {
                "task": task,
                "clock": clock,
                "returns": {a: stats.mean([*map(valid_return, r)]) for a, r in rows.items()},
                "planning_adds": difference(rows["plan"], rows["prior"]).to_json(),
                "model_error_costs": difference(rows["oracle"], rows["plan"]).to_json(),
            }
        )
    return found


def _clock_costs(groups: dict[Key, list[Row]]) -> list[Row]:
    """Return under a clock beside free compute, for every agent that has both."""
    return [
        {
            "task": task,
            "agent": agent,
            "clock": clock,
            "return_free": stats.mean([*results.by_seed(free).values()]),
            "return_clock": stats.mean([*results.by_seed(rows).values()]),
            "cost": difference(free, rows).to_json(),
        }
        for (task, agent, clock), rows in groups.items()
        if clock != FREE and (free := groups.get((task, agent, FREE)))
    ]


def _unit(groups: dict[Key, list[Row]], policy: Policy) -> str:
    """The unit of an agent's intervals: a "training", or an "episode"."""
    for key, rows in groups.items():
        trainings = {r["train_seed"] for r in rows if np.isfinite(valid_return(r))}
        if key[1:] == policy and len(trainings - {None}) < 2:
            return "episode"
    return "training"
