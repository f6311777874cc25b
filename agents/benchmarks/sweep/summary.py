"""A sweep in figures: summary.json, and the answer in words."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agents.benchmarks.results import valid_return
from agents.benchmarks.sweep.config import SweepPlan
from agents.benchmarks.sweep.decide import Candidate, Choice, difference, recommend
from agents.benchmarks.sweep.grid import lowered_note
from agents.evaluation import stats
from agents.runs.directory import plain

Row = dict[str, Any]
PERCENTILES = ("p50", "p95", "p99")


def summarise(plan: SweepPlan, candidates: Sequence[Candidate], complete: bool) -> Row:
    """Everything that was found, as plain JSON; without a recommendation unless complete.

    An interrupted sweep says which earlier one the recommendation that still stands is from.
    """
    config, axes, budget = plan.config, plan.axes, plan.budget_ms
    choice = recommend(candidates, budget) if complete else None
    trained = next((c for c in candidates if c.baseline and c.rows), None)
    settings = [_setting(c, trained, budget) for c in candidates]
    asked = config.episodes * len(candidates)
    summary = {
        "format": 1,
        "task": plan.base.env_id,
        "complete": complete,
        "path": config.path,
        "out": str(plan.directory),
        "axes": axes,
        "planner": {k: v for k, v in config.planner.given.items() if f"planner.{k}" not in axes},
        "episodes": config.episodes,
        "seed": config.seed,
        "clock": config.clock,
        "budget_ms": budget,
        "budget_from": plan.budget_from,
        "eliminate": config.eliminate,
        "executor": config.executor,
        "jobs": config.jobs,
        "contended": config.jobs > 1 or config.executor != "local",
        "lowered": lowered_note(plan.settings),
        "episodes_run": sum(len(c.rows) for c in candidates),
        "episodes_of_full_grid": asked,
        "compile_s": sum(c.compile_s for c in candidates),
        "settings": settings,
        "front": front(settings),
        "trained": trained.name if trained else None,
        "recommendation": _recommendation(choice, trained),
        "earlier": None if complete else _earlier(plan.directory),
        "failures": [{"setting": c.name, "reason": c.note} for c in _failed(candidates)],
    }
    return plain(summary | {"verdict": verdict(summary)})


def _earlier(out: Path) -> Row | None:
    """What recommended.toml says and rests on, by the summary of the sweep that wrote it."""
    try:
        before = json.loads((out / "summary.json").read_bytes())
        if not (out / "recommended.toml").exists() or not before["complete"]:
            return before["earlier"] if (out / "recommended.toml").exists() else None
        return {
            "name": before["recommendation"]["name"],
            "settings": len(before["settings"]),
            "episodes_run": before["episodes_run"],
            "budget_ms": before["budget_ms"],
        }
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _failed(candidates: Sequence[Candidate]) -> list[Candidate]:
    return [c for c in candidates if c.status == "failed"]


def _setting(candidate: Candidate, trained: Candidate | None, budget_ms: float) -> Row:
    """One setting's figures."""
    returns = [valid_return(row) for row in candidate.rows]
    mean, low, high = stats.mean_ci(returns)
    misses = [r["deadline_misses"] for r in candidate.rows if r["deadline_misses"] is not None]
    return {
        "name": candidate.name,
        "asked": candidate.setting.asked,
        "training": candidate.setting.training,
        "planner": asdict(candidate.setting.config.planner),
        "lowered": list(candidate.setting.lowered),
        "status": candidate.status,
        "note": candidate.note,
        "stopped": candidate.stopped,
        "return_mean": mean,
        "return_ci95": [low, high],
        "episodes_valid": len(stats.clean(returns)),
        "episodes_run": len(returns),
        "plan_ms": {q: candidate.milliseconds(q) for q in PERCENTILES},
        "deadline_misses": max(misses) if misses else None,
        "feasible": candidate.feasible(budget_ms),
        "compile_s": candidate.compile_s,
        "versus_trained": _versus(candidate, trained),
    }


def _versus(candidate: Candidate, other: Candidate | None) -> Row | None:
    if other is None or candidate is other or not candidate.rows:
        return None
    return difference(candidate, other).to_json()


def front(settings: Sequence[Row]) -> list[str]:
    """Names on the front of return over latency, fastest first: the fully run ones only."""
    known = [
        s
        for s in settings
        if s["status"] == "complete" and not math.isnan(s["plan_ms"]["p99"] + s["return_mean"])
    ]
    found, best = [], -math.inf
    for s in sorted(known, key=lambda s: (s["plan_ms"]["p99"], -s["return_mean"])):
        if s["return_mean"] > best:
            best = s["return_mean"]
            found.append(s["name"])
    return found


def _recommendation(choice: Choice | None, trained: Candidate | None) -> Row | None:
    if choice is None:
        return None
    chosen = choice.chosen
    mean, low, high = stats.mean_ci([valid_return(row) for row in chosen.rows])
    speedup = trained.milliseconds() / chosen.milliseconds() if trained else None
    return {
        "name": chosen.name,
        "planner": asdict(chosen.setting.config.planner),
        "training": chosen.setting.training,
        "return_mean": mean,
        "return_ci95": [low, high],
        "plan_ms": {q: chosen.milliseconds(q) for q in PERCENTILES},
        "best": choice.best.name,
        "ties": [c.name for c in choice.ties if c is not chosen],
        "unresolved": [c.name for c in choice.unresolved],
        "versus_best": _versus(chosen, choice.best),
        "versus_trained": _versus(chosen, trained),
        "speedup_over_trained": speedup,
        "speedup_p50_over_trained": (
            trained.milliseconds("p50") / chosen.milliseconds("p50") if trained else None
        ),
    }


def verdict(summary: Mapping[str, Any]) -> str:
    """The answer in a few sentences."""
    budget = f"{summary['budget_ms']:.3g} ms ({summary['budget_from']})"
    if not summary["complete"]:
        goes_on = "Interrupted: the same command goes on from here; no setting is recommended yet."
        return goes_on + _of_earlier(summary)
    found = summary["recommendation"]
    if found is None:
        known = [s for s in summary["settings"] if s["plan_ms"]["p99"] == s["plan_ms"]["p99"]]
        fastest = min(known, key=lambda s: s["plan_ms"]["p99"], default=None)
        hint = f"; the fastest, {fastest['name']}, takes {milliseconds(fastest)}" if fastest else ""
        return f"No setting keeps the budget of {budget}{hint}."
    parts = [
        f"Recommended under {budget}: {found['name']}, return {within(found)}, "
        f"{milliseconds(found)}.",
        _against_trained(found),
        _against_best(found, summary),
    ]
    return " ".join(part for part in parts if part)


def _of_earlier(summary: Mapping[str, Any]) -> str:
    """What recommended.toml is, where it is not of this sweep."""
    if (before := summary["earlier"]) is None:
        return ""
    return (
        f" recommended.toml is that of an earlier sweep of {before['settings']:,} settings and "
        f"{before['episodes_run']:,} episodes under {before['budget_ms']:.3g} ms (this one asks "
        f"for {len(summary['settings']):,} and up to {summary['episodes_of_full_grid']:,}): "
        f"{before['name']}."
    )


def milliseconds(row: Mapping[str, Any]) -> str:
    """The time of a decision in words."""
    return f"p99 {row['plan_ms']['p99']:.3g} ms (p50 {row['plan_ms']['p50']:.3g})"


def within(row: Mapping[str, Any]) -> str:
    """The return and its interval in words."""
    low, high = row["return_ci95"]
    return f"{row['return_mean']:.4g} [{low:.4g}, {high:.4g}]"


def _gap(gap: Mapping[str, Any]) -> str:
    """A paired difference in words."""
    text = f"{gap['difference']:+.4g}"
    if math.isnan(gap["ci95"][0]):
        return f"{text} on {gap['pairs']} pair (no interval)"
    text += f" [{gap['ci95'][0]:.4g}, {gap['ci95'][1]:.4g}] on {gap['pairs']} pairs"
    if gap["resolved"]:
        return text
    needed = f" (about {gap['needed']:,} episodes would resolve it)" if gap["needed"] else ""
    return f"{text}, not resolved{needed}"


def _against_trained(found: Mapping[str, Any]) -> str:
    gap = found["versus_trained"]
    if gap is None:
        return "" if found["speedup_over_trained"] is None else "It is the setting as trained."
    return (
        f"Against the setting as trained: return {_gap(gap)}; decisions "
        f"{found['speedup_over_trained']:.2g}x as fast at p99 "
        f"({found['speedup_p50_over_trained']:.2g}x at p50)."
    )


def _against_best(found: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    parts = []
    if found["versus_best"] and found["best"] == summary["trained"]:
        parts.append("The setting as trained has the highest mean; it is not told apart from it.")
    elif found["versus_best"]:
        parts.append(
            f"The highest mean is that of {found['best']}, from which it is not told apart: "
            f"{_gap(found['versus_best'])}; it is the faster."
        )
    if count := len(found["unresolved"]):
        were = "setting is" if count == 1 else "settings are"
        parts.append(
            f"{count} other {were} well below the best in the mean but not resolved from it: "
            "more --episodes would tell."
        )
    return " ".join(parts)
