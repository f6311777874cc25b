"""The comparison of objectives as a table in markdown."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import stats as scipy_stats

from agents.evaluation import stats
from tests.experiments.objectives import BASELINE

Rows = list[dict[str, Any]]
HEAD = (
    "objective",
    "seeds",
    "success, straight distance",
    "success, with guides",
    "effective rank",
    "position R2",
    "velocity R2",
    "open-loop error",
    "training, core-s",
    "parameters",
    "plan, ms",
)


def table(rows: Rows) -> str:
    """One line an objective, in the order of the rows; means over seeds."""
    names = dict.fromkeys(row["objective"] for row in rows)
    lines = [HEAD, ("---",) * len(HEAD)]
    lines += [_line(name, [r for r in rows if r["objective"] == name]) for name in names]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _line(name: str, rows: Rows) -> tuple[str, ...]:
    head = (name, str(len(rows)), success([row["plain"] for row in rows]))
    if name == BASELINE:
        return head + ("",) * (len(HEAD) - len(head))

    def mean(key: str, form: Callable[[float], str] = "{:.3f}".format) -> str:
        values = [row[key] for row in rows]
        return form(float(np.mean(values)))

    return (
        *head,
        success([row["guided"] for row in rows]),
        f"{mean('rank', '{:.1f}'.format)} ({mean('rank_share', '{:.0%}'.format)})",
        interval([row["position_r2"] for row in rows]),
        interval([row["velocity_r2"] for row in rows]),
        mean("openloop_relative"),
        mean("train_core_s", "{:.0f}".format),
        mean("num_params", "{:,.0f}".format),
        mean("plan_ms", "{:.1f}".format),
    )


def success(found: list[list[int]]) -> str:
    """Mean over seeds with Student's interval; pooled over all goals with Wilson's."""
    rates = [won / goals for won, goals in found]
    _, low, high = stats.wilson(*map(sum, zip(*found, strict=True)))
    return f"{interval(rates, (0.0, 1.0))}; {low:.3f} to {high:.3f}"


def interval(values: list[float], within: tuple[float, float] = (-math.inf, 1.0)) -> str:
    """Mean and its 95 % interval over seeds (Student's t), cut off at what is possible."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return f"{mean:.3f}"
    half = scipy_stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return f"{mean:.3f} ({max(mean - half, within[0]):.3f} to {min(mean + half, within[1]):.3f})"
