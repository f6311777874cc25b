"""From the rows of results.jsonl to a summary: JSON-ready, and the same for any order of rows.

A *run* is what intervals are taken over: the mean over the valid episodes of one training seed
where an agent has two or more of them on every task, else one episode (agents that are not
trained, or were trained once). `unit` says which; over episodes, an interval covers the luck of
the start and none of the luck of training.
"""

from collections.abc import Iterable

import numpy as np

from agents.benchmarks.results import (
    FREE,
    Key,
    Row,
    agent_order,
    by_seed,
    by_training,
    canonical,
    difference,
    grouped,
    scale,
    to_score,
    valid_return,
)
from agents.evaluation import stats
from agents.runs.directory import plain

FLOORS = ("random", "zero")
LEVELS = 51  # of a performance profile


def aggregate(rows: Iterable[Row], failures: Iterable[Row] = (), *, seed: int = 0) -> Row:
    """Summary of a bench: `cells` a task, agent and clock; over tasks; pairs; gaps; clock costs.

    `failures` are runs that made no rows: {"task", "agent", "reason"} and whatever else names
    them. What cannot be known is None.
    """
    groups = grouped(rows)
    scales = {task: scale(task, groups) for task in _tasks(groups)}
    units = {pair: _unit(groups, pair) for pair in _pairs(groups)}
    scores = {
        key: to_score(_runs(rows, units[key[1:]]), scales[key[0]]) for key, rows in groups.items()
    }
    cells = [_cell(key, groups[key], units[key[1:]], scales, seed) for key in groups]
    summary = {
        "format": 1,
        "tasks": list(scales),
        "agents": list(dict.fromkeys(agent for agent, _ in units)),
        "clocks": list(dict.fromkeys(clock for _, clock in units)),
        "episodes_valid": sum(c["episodes_valid"] for c in cells),
        "episodes_asked": sum(c["episodes_asked"] for c in cells),
        "scales": scales,
        "cells": cells,
        "overall": _overall(scores, units, seed),
        "improvement": _improvement(scores, seed),
        "gaps": _gaps(groups),
        "clock_costs": _clock_costs(groups),
        "failures": sorted(failures, key=canonical),
    }
    return plain(summary)


def _cell(key: Key, rows: list[Row], unit: str, scales: dict[str, Row], seed: int) -> Row:
    runs = _runs(rows, unit)
    mean, low, high = stats.mean_ci(runs, seed=seed)
    returns = [valid_return(r) for r in rows]
    latencies = [r["plan_ms"] for r in rows if r.get("plan_ms")]
    misses = [r["deadline_misses"] for r in rows if r.get("deadline_misses") is not None]
    return {
        **dict(zip(("task", "agent", "clock"), key, strict=True)),
        "unit": unit,
        "runs": len(stats.clean(runs)),
        "episodes_valid": len(stats.clean(returns)),
        "episodes_asked": len(rows),
        "return_mean": mean,
        "return_ci95": [low, high],
        "return_iqm": stats.iqm(runs),
        "score_mean": stats.mean(to_score(runs, scales[key[0]])),
        "success": _success(rows),
        "plan_ms": _latency(latencies) if latencies else None,
        "deadline_misses": sum(misses) if misses else None,
        "decisions": sum(r["length"] for r in rows if r.get("deadline_misses") is not None),
    }


def _success(rows: list[Row]) -> Row | None:
    """Rate of success over the valid episodes that tell; None where none does."""
    told = [r["success"] for r in rows if r["valid"] and r.get("success") is not None]
    if not told:
        return None
    count = sum(s >= 0.5 for s in told)
    rate, low, high = stats.wilson(count, len(told))
    return {"rate": rate, "ci95": [low, high], "successes": count, "episodes": len(told)}


def _latency(rows: list[dict[str, float]]) -> dict[str, float]:
    """Median over episodes of each episode's percentile, and the worst p99 of any."""
    found = {q: float(np.median([r[q] for r in rows])) for q in ("p50", "p95", "p99")}
    return found | {"worst_p99": max(r["p99"] for r in rows)}


def _overall(scores: dict[Key, np.ndarray], units: dict, seed: int) -> list[Row]:
    """Scores over tasks, an agent and clock each; profiles of all on the same levels."""
    top = max((float(x.max()) for x in map(stats.clean, scores.values()) if len(x)), default=1.0)
    levels = np.linspace(0, max(1.0, top), LEVELS)
    tasks, found = _tasks(scores), []
    for agent, clock in units:
        strata = [scores.get((task, agent, clock), np.array([])) for task in tasks]
        there = [len(stats.clean(x)) > 0 for x in strata]
        every = np.concatenate(strata)
        share, low, high = stats.profile(strata, levels, seed=seed)
        found.append(
            {
                "agent": agent,
                "clock": clock,
                "unit": units[agent, clock],
                "runs": len(stats.clean(every)),
                "tasks": sum(there),
                "tasks_missing": [t for t, has in zip(tasks, there, strict=True) if not has],
                "iqm": stats.iqm(every),
                "iqm_ci95": stats.bootstrap(strata, stats.iqm_of, seed=seed),
                "mean": stats.mean(every),
                "mean_ci95": stats.bootstrap(strata, stats.mean_of, seed=seed),
                "median": float(np.median(stats.clean(every))) if any(there) else None,
                "optimality_gap": stats.optimality_gap(every),
                "profile": {"score": levels, "share": share, "low": low, "high": high},
            }
        )
    return found


def _improvement(scores: dict[Key, np.ndarray], seed: int) -> list[Row]:
    """Probability that a run of A beats one of B, for every ordered pair under one clock."""
    tasks, found = _tasks(scores), []
    names = _pairs(scores)

    def scored(task: str, agent: str, clock: str) -> bool:
        return bool(np.isfinite(scores.get((task, agent, clock), [])).any())

    for i, (a, clock) in enumerate(names):
        for b, other in names[i + 1 :]:
            both = [t for t in tasks if scored(t, a, clock) and scored(t, b, other)]
            if clock != other or not both:
                continue
            of_a, of_b = ([scores[t, agent, clock] for t in both] for agent in (a, b))
            p, low, high = stats.improvement(of_a, of_b, seed=seed)
            shared = {"clock": clock, "tasks": len(both)}
            found += [
                {"a": a, "b": b, **shared, "probability": p, "ci95": [low, high]},
                {"a": b, "b": a, **shared, "probability": 1 - p, "ci95": [1 - high, 1 - low]},
            ]
    return found


def _gaps(groups: dict[Key, list[Row]]) -> list[Row]:
    """One a task and clock on which the planner stands beside its prior or the oracle."""
    return [
        _gap(task, clock, groups)
        for task, agent, clock in groups
        if agent == "plan" and {(task, a, clock) for a in ("prior", "oracle")} & groups.keys()
    ]


def _gap(task: str, clock: str, groups: dict[Key, list[Row]]) -> Row:
    """What planning adds to the prior, and what model error costs against the true dynamics.

    Floors that take no time stand in from free compute.
    """

    def rows(agent: str) -> list[Row]:
        instead = groups.get((task, agent, FREE), []) if agent in FLOORS else []
        return groups.get((task, agent, clock), instead)

    found = {a: rows(a) for a in ("random", "zero", "prior", "plan", "oracle")}
    return {
        "task": task,
        "clock": clock,
        "returns": {a: stats.mean([valid_return(r) for r in f]) for a, f in found.items()},
        "planning_adds": difference(found["plan"], found["prior"]).to_json(),
        "model_error_costs": difference(found["oracle"], found["plan"]).to_json(),
    }


def _clock_costs(groups: dict[Key, list[Row]]) -> list[Row]:
    """Return under a clock beside free compute, for every agent that has both."""
    found = []
    for (task, agent, clock), rows in groups.items():
        free = groups.get((task, agent, FREE))
        if clock != FREE and free:
            found.append(
                {
                    "task": task,
                    "agent": agent,
                    "clock": clock,
                    "return_free": stats.mean(list(by_seed(free).values())),
                    "return_clock": stats.mean(list(by_seed(rows).values())),
                    "cost": difference(free, rows).to_json(),
                }
            )
    return found


def _unit(groups: dict[Key, list[Row]], pair: tuple[str, str]) -> str:
    """What a run of an agent is: a "training", or an "episode"."""
    for key, rows in groups.items():
        if key[1:] == pair:
            trainings = {r["train_seed"] for r in rows if np.isfinite(valid_return(r))}
            if len(trainings - {None}) < 2:
                return "episode"
    return "training"


def _runs(rows: list[Row], unit: str) -> list[float]:
    """One return a run, NaN for a run without a valid episode."""
    return [valid_return(r) for r in rows] if unit == "episode" else by_training(rows)


def _tasks(keys: Iterable[Key]) -> list[str]:
    return sorted({task for task, _, _ in keys})


def _pairs(keys: Iterable[Key]) -> list[tuple[str, str]]:
    """Agents and clocks, in order."""
    return sorted({key[1:] for key in keys}, key=lambda pair: agent_order(*pair))
