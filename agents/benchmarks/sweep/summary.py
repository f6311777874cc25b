"""The results of a sweep: summary.json, the answer in words, and the recommendation as TOML."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from agents.benchmarks.results import Row, difference, valid_return
from agents.benchmarks.sweep.config import SweepPlan
from agents.benchmarks.sweep.decide import Candidate, Choice, recommend
from agents.evaluation import stats
from agents.reports.tables import difference as difference_text
from agents.reports.tables import number, within
from agents.runs.config import TrainConfig
from agents.runs.directory import plain

PERCENTILES = ("p50", "p95", "p99")


def sweep_summary(plan: SweepPlan, candidates: Sequence[Candidate], complete: bool) -> Row:
    """Everything that was found, as plain JSON; without a recommendation unless complete."""
    config, axes, budget = plan.config, plan.axes, plan.budget_ms
    choice = recommend(candidates, budget) if complete else None
    trained = next((c for c in candidates if c.baseline and c.rows), None)
    settings = [_setting(c, trained, budget) for c in candidates]
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
        "clock": config.latency,
        "budget_ms": budget,
        "budget_from": plan.budget_from,
        "eliminate": config.eliminate,
        "executor": config.executor,
        "jobs": config.jobs,
        "contended": config.jobs > 1 or config.executor != "local",
        "episodes_run": sum(len(c.rows) for c in candidates),
        "episodes_of_full_grid": config.episodes * len(candidates),
        "compile_s": sum(c.compile_s for c in candidates),
        "settings": settings,
        "front": front(settings),
        "trained": trained.name if trained else None,
        "recommendation": _recommendation(choice, trained, settings),
        "earlier": not complete and (plan.directory / "recommended.toml").exists(),
        "failures": [
            {"setting": c.name, "reason": c.note} for c in candidates if c.status == "failed"
        ],
    }
    summary = plain(summary)
    return summary | {"verdict": verdict(summary)}


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
    p50, p99 = (
        trained.milliseconds(q) / chosen.milliseconds(q) if trained else None
        for q in ("p50", "p99")
    )
    return {name: figures[name] for name in (*shared, "versus_trained")} | {
        "best": choice.best.name,
        "ties": [c.name for c in choice.ties if c is not chosen],
        "unresolved": [c.name for c in choice.unresolved],
        "versus_best": _versus(chosen, choice.best),
        "speedup_over_trained": p99,
        "speedup_p50_over_trained": p50,
    }


def verdict(summary: Row) -> str:
    """The answer in a sentence or two; how the other settings did is in the table."""
    budget = f"{number(summary['budget_ms'])} ms ({summary['budget_from']})"
    if not summary["complete"]:
        text = "Interrupted: the same command goes on from here; no setting is recommended yet."
        earlier = " recommended.toml is from an earlier sweep: its first line says which."
        return text + earlier * summary["earlier"]
    found = summary["recommendation"]
    if found is None:
        known = [s for s in summary["settings"] if s["plan_ms"]["p99"] is not None]
        fastest = min(known, key=lambda s: s["plan_ms"]["p99"], default=None)
        hint = f"; the fastest, {fastest['name']}, takes {_decision(fastest)}" if fastest else ""
        return f"No setting keeps the budget of {budget}{hint}."
    text = f"Recommended under {budget}: {found['name']}, {_figures(found)}."
    if gap := found["versus_trained"]:
        text += (
            f" Against the setting as trained: return {difference_text(gap)}; decisions "
            f"{found['speedup_over_trained']:.2g}x as fast at p99."
        )
    return text


def _decision(row: Row) -> str:
    """The time of a decision in words."""
    return f"p99 {number(row['plan_ms']['p99'])} ms (p50 {number(row['plan_ms']['p50'])})"


def _figures(row: Row) -> str:
    return f"return {within(row['return_mean'], row['return_ci95'])}, {_decision(row)}"


def recommended_toml(summary: Row) -> str:
    """`[planner]` of the recommendation, for `--config` of every verb that plans."""
    found = summary["recommendation"]
    heading = (
        f"# {summary['task']}: {found['name']} of {len(summary['settings']):,} settings, "
        f"{_figures(found)}, {summary['episodes']} episodes, "
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
