"""A sweep in figures: summary.json, the answer in words, and the recommendation as TOML."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from agents.benchmarks.results import Row, difference, valid_return
from agents.benchmarks.sweep.config import SweepPlan
from agents.benchmarks.sweep.decide import Candidate, Choice, recommend
from agents.benchmarks.sweep.grid import lowered_note
from agents.evaluation import stats
from agents.reports.tables import difference as told
from agents.reports.tables import number, within
from agents.runs.config import TrainConfig
from agents.runs.directory import plain
from agents.storage import sealed
from agents.storage.files import CheckpointError

PERCENTILES = ("p50", "p95", "p99")
MOST_SUMMARY = 1 << 26


@dataclass(frozen=True)
class _Earlier:
    """The sweep that recommended.toml is of."""

    name: str
    settings: int
    episodes_run: int
    budget_ms: float


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
        "recommendation": _recommendation(choice, trained, settings),
        "earlier": None if complete else _earlier(plan.directory),
        "failures": [
            {"setting": c.name, "reason": c.note} for c in candidates if c.status == "failed"
        ],
    }
    summary = plain(summary)
    return summary | {"verdict": verdict(summary)}


def _earlier(out: Path) -> Row | None:
    """What recommended.toml says and rests on, by the summary of the sweep that wrote it."""
    if not (out / "recommended.toml").exists():
        return None
    try:
        before = sealed.read_json(out / "summary.json", MOST_SUMMARY)
        found = before["earlier"]
        if before["complete"]:
            found = {
                "name": before["recommendation"]["name"],
                "settings": len(before["settings"]),
                "episodes_run": before["episodes_run"],
                "budget_ms": before["budget_ms"],
            }
        return asdict(msgspec.convert(found, _Earlier)) if found else None
    except (CheckpointError, ValueError, KeyError, TypeError):
        return None


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
    return difference(candidate.rows, other.rows).to_json()


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


def _recommendation(
    choice: Choice | None, trained: Candidate | None, settings: Sequence[Row]
) -> Row | None:
    if choice is None:
        return None
    chosen = choice.chosen
    figures = next(s for s in settings if s["name"] == chosen.name)
    shared = ("name", "planner", "training", "return_mean", "return_ci95", "plan_ms")
    faster = {
        q: trained.milliseconds(q) / chosen.milliseconds(q) if trained else None
        for q in ("p50", "p99")
    }
    return {name: figures[name] for name in (*shared, "versus_trained")} | {
        "best": choice.best.name,
        "ties": [c.name for c in choice.ties if c is not chosen],
        "unresolved": [c.name for c in choice.unresolved],
        "versus_best": _versus(chosen, choice.best),
        "speedup_over_trained": faster["p99"],
        "speedup_p50_over_trained": faster["p50"],
    }


def verdict(summary: Row) -> str:
    """The answer in a few sentences."""
    budget = f"{number(summary['budget_ms'])} ms ({summary['budget_from']})"
    if not summary["complete"]:
        goes_on = "Interrupted: the same command goes on from here; no setting is recommended yet."
        return goes_on + _of_earlier(summary)
    found = summary["recommendation"]
    if found is None:
        known = [s for s in summary["settings"] if s["plan_ms"]["p99"] is not None]
        fastest = min(known, key=lambda s: s["plan_ms"]["p99"], default=None)
        hint = f"; the fastest, {fastest['name']}, takes {milliseconds(fastest)}" if fastest else ""
        return f"No setting keeps the budget of {budget}{hint}."
    parts = [f"Recommended under {budget}: {found['name']}, {_figures(found)}."]
    if gap := found["versus_trained"]:
        parts.append(
            f"Against the setting as trained: return {told(gap)}; decisions "
            f"{found['speedup_over_trained']:.2g}x as fast at p99."
        )
    elif found["speedup_over_trained"] is not None:
        parts.append("It is the setting as trained.")
    if gap := found["versus_best"]:
        parts.append(f"The highest mean is that of {found['best']}; against it {told(gap)}.")
    if count := len(found["unresolved"]):
        parts.append(f"Lower in the mean but not resolved: {count}; more --episodes would tell.")
    return " ".join(parts)


def _of_earlier(summary: Row) -> str:
    """What recommended.toml is, where it is not of this sweep."""
    if (before := summary["earlier"]) is None:
        return ""
    return (
        f" recommended.toml is that of an earlier sweep of {before['settings']:,} settings and "
        f"{before['episodes_run']:,} episodes under {number(before['budget_ms'])} ms (this one "
        f"asks for {len(summary['settings']):,} and up to "
        f"{summary['episodes_of_full_grid']:,}): {before['name']}."
    )


def milliseconds(row: Row) -> str:
    """The time of a decision in words."""
    return f"p99 {number(row['plan_ms']['p99'])} ms (p50 {number(row['plan_ms']['p50'])})"


def _figures(row: Row) -> str:
    return f"return {within(row['return_mean'], row['return_ci95'])}, {milliseconds(row)}"


def recommended_toml(summary: Row) -> str:
    """`[planner]` of the recommendation, for `--config` of every verb that plans."""
    found = summary["recommendation"]
    heading = (
        f"# {summary['task']}: {_figures(found)}, {summary['episodes']} episodes, "
        f"budget {number(summary['budget_ms'])} ms.\n"
    )
    return heading + _table("planner", found["planner"])


def training_toml(config: TrainConfig) -> str:
    """All settings of a training, for `train --config`, which gives it a run of its own."""
    kept = asdict(config)
    top = {k: v for k, v in kept.items() if not isinstance(v, dict) and k != "run_dir"}
    blocks = {k: v for k, v in kept.items() if isinstance(v, dict)}
    return _table("", top) + "".join("\n" + _table(name, values) for name, values in blocks.items())


def _table(name: str, values: Mapping[str, Any]) -> str:
    """A table of TOML; JSON writes texts, truth values and finite numbers as TOML does."""
    heading = f"[{name}]\n" if name else ""
    return heading + "".join(
        f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in values.items()
    )
