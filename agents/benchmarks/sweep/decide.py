"""Decisions of a sweep on the episodes so far: which settings to stop, which to recommend.

Everything is a function of stored results, so that a resumed sweep decides as it did before.
One figure stands for a setting's latency: the p99 of a decision, the median over its episodes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from agents.benchmarks.results import Row, difference, valid_return
from agents.benchmarks.sweep.grid import Setting
from agents.evaluation import stats

Status = Literal["running", "complete", "stopped", "over budget", "failed"]
MIN_PAIRS = 3
CONFIDENCE = 0.99
"""Of stopping a setting: more than the usual 0.95, as every setting is looked at several times."""
TIE = 0.02
"""Settings are tied when their difference is not resolved and at most this share of the return."""


@dataclass(eq=False)
class Candidate:
    """A setting and what is known of it."""

    setting: Setting
    rows: list[Row] = field(default_factory=list)
    compile_s: float = 0.0
    status: Status = "running"
    note: str = ""
    """Why it was stopped, in one line."""
    stopped: Row | None = None
    """Round, episodes, opponent and difference of an elimination."""

    @property
    def name(self) -> str:
        """The setting's."""
        return self.setting.name

    @property
    def baseline(self) -> bool:
        """Whether these are the settings as trained, which run to the end whatever happens."""
        return not self.setting.training and not self.setting.planner

    @property
    def mean(self) -> float:
        """Mean return of the valid episodes; NaN without any."""
        return stats.mean([valid_return(row) for row in self.rows])

    def milliseconds(self, q: str = "p99") -> float:
        """A percentile of the decision time; NaN when it was not measured."""
        found = stats.clean([(row["plan_ms"] or {}).get(q) or math.nan for row in self.rows])
        return float(np.median(found)) if len(found) else math.nan

    def feasible(self, budget_ms: float) -> bool:
        """Whether decisions are known to keep the budget."""
        return self.milliseconds() <= budget_ms


def stop_after_round(candidates: Sequence[Candidate], budget_ms: float, number: int) -> None:
    """Stop settings over the budget, then those that are worse than one that is not slower."""
    running = [c for c in candidates if c.status == "running"]
    for candidate in running:
        if not candidate.baseline and not candidate.feasible(budget_ms):
            candidate.status = "over budget"
            candidate.note = (
                f"stopped after round {number}: p99 {candidate.milliseconds():.3g} ms is over "
                f"{budget_ms:.3g} ms"
            )
    able = [c for c in running if c.feasible(budget_ms) and not math.isnan(c.mean)]
    for candidate in able:
        rivals = [
            c for c in able if c is not candidate and c.milliseconds() <= candidate.milliseconds()
        ]
        if rivals and not candidate.baseline:
            _stop_if_worse(candidate, max(rivals, key=lambda c: c.mean), number)


def _stop_if_worse(candidate: Candidate, best: Candidate, number: int) -> None:
    """Stop a setting that the paired interval says is worse than `best`, which is not slower."""
    gap = difference(candidate.rows, best.rows, CONFIDENCE)
    if gap.pairs >= MIN_PAIRS and gap.high < 0:
        candidate.status = "stopped"
        candidate.stopped = {"round": number, "against": best.name, **gap.to_json()}
        candidate.note = (
            f"stopped after round {number}: worse than {best.name} by {-gap.mean:.4g} "
            f"[{-gap.high:.4g}, {-gap.low:.4g}] on {gap.pairs} pairs ({CONFIDENCE:.0%}), "
            "which is not slower"
        )


def finish(candidates: Sequence[Candidate]) -> None:
    """Settings that still ran have run all their episodes."""
    for candidate in candidates:
        if candidate.status == "running":
            candidate.status = "complete"


@dataclass(frozen=True)
class Choice:
    """A recommendation and what else would have done."""

    chosen: Candidate
    best: Candidate
    """Highest mean return within the budget."""
    ties: list[Candidate]
    """As good as `best`, by the rule."""
    unresolved: list[Candidate]
    """Not resolved from `best` but too far below it in the mean to be called as good."""


def recommend(candidates: Sequence[Candidate], budget_ms: float) -> Choice | None:
    """The fastest of the settings that are as good as the best within the budget; None if none.

    As good: the paired difference is not resolved and the mean is within TIE of the best's. A
    difference that few episodes leave open is no licence to take a setting that looks far worse.
    """
    able = [
        c
        for c in candidates
        if c.status == "complete" and c.feasible(budget_ms) and not math.isnan(c.mean)
    ]
    best = max(able, key=lambda c: (c.mean, -c.milliseconds()), default=None)
    if best is None:
        return None
    near = [c for c in able if c is best or not difference(c.rows, best.rows).resolved]
    ties = [c for c in near if best.mean - c.mean <= TIE * abs(best.mean)]
    chosen = min(ties, key=lambda c: (c.milliseconds(), -c.mean))
    return Choice(chosen, best, ties, [c for c in near if c not in ties])
