"""The figures of a sweep's report, each as inline SVG text."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from agents.reports.plots import GREY, OURS, PALE, WARM, figure

Row = Mapping[str, Any]
GREEN = "#1a7f37"
MOST_NUMBERED = 80
"""Cells of a heat-map beyond which its numbers are left out."""


def widest_axes(summary: Row) -> list[str]:
    """The two grid axes with most values, or the one there is; those with one value are none."""
    axes = {name: values for name, values in summary["axes"].items() if len(values) > 1}
    widest = sorted(axes, key=lambda name: -len(axes[name]))[:2]
    return widest or list(summary["axes"])[:1]


def best_cells(summary: Row, names: Sequence[str]) -> dict[tuple, Row]:
    """Values of the named axes to the setting with the best return, over the other axes.

    Settings within the budget come before those over it.
    """
    cells: dict[tuple, Row] = {}
    for setting in summary["settings"]:
        if setting["return_mean"] is None or not setting["asked"]:
            continue
        at = tuple(setting["asked"][name] for name in names)
        if at not in cells or _rank(setting) > _rank(cells[at]):
            cells[at] = setting
    return cells


def _rank(setting: Row) -> tuple[bool, float]:
    return setting["feasible"], setting["return_mean"]


def heat_map(summary: Row) -> str:
    """Mean return over the two widest axes, the best over the others; a line for one axis."""
    names = widest_axes(summary)
    if len(names) < 2:
        return _line(summary, names[0])
    across, down = (summary["axes"][name] for name in names)
    cells = best_cells(summary, names)
    grid = np.full((len(down), len(across)), np.nan)
    for (x, y), setting in cells.items():
        grid[down.index(y), across.index(x)] = setting["return_mean"]

    def draw(axes: Any) -> None:
        image = axes.pcolormesh(np.ma.masked_invalid(grid), cmap="viridis", edgecolors="white")
        axes.set_xticks(np.arange(len(across)) + 0.5, [str(v) for v in across])
        axes.set_yticks(np.arange(len(down)) + 0.5, [str(v) for v in down])
        axes.set(xlabel=short(names[0]), ylabel=short(names[1]))
        axes.grid(False)
        axes.figure.colorbar(image, ax=axes, label="mean return")
        if grid.size <= MOST_NUMBERED:
            _numbers(axes, cells, across, down, image)
        _mark(axes, summary, names, across, down)

    return figure(draw, 7.2, max(2.6, 1.2 + 0.5 * len(down)))


def _numbers(axes: Any, cells: Mapping[tuple, Row], across: list, down: list, image: Any) -> None:
    """The return in each cell: in brackets when over the budget, with a star when stopped."""
    for (x, y), setting in cells.items():
        text = f"{setting['return_mean']:.4g}"
        text += "*" if setting["status"] == "stopped" else ""
        axes.annotate(
            text if setting["feasible"] else f"({text})",
            (across.index(x) + 0.5, down.index(y) + 0.5),
            ha="center",
            va="center",
            fontsize=8,
            color="black" if image.norm(setting["return_mean"]) > 0.6 else "white",
        )


def _mark(axes: Any, summary: Row, names: Sequence[str], across: list, down: list) -> None:
    """A frame around the cell of the recommendation."""
    chosen = recommended(summary)
    if chosen is not None and chosen["asked"]:
        from matplotlib.patches import Rectangle

        x, y = (chosen["asked"][name] for name in names)
        at = across.index(x), down.index(y)
        axes.add_patch(Rectangle(at, 1, 1, fill=False, edgecolor=WARM, lw=2.5))


def _line(summary: Row, name: str) -> str:
    """Return over one axis, with intervals."""
    values = summary["axes"][name]
    cells = best_cells(summary, [name])
    found = [(i, cells[(v,)]) for i, v in enumerate(values) if (v,) in cells]

    def draw(axes: Any) -> None:
        x, y = [i for i, _ in found], [s["return_mean"] for _, s in found]
        errors = np.array([_error(s) for _, s in found]).reshape(-1, 2).T
        axes.errorbar(x, y, yerr=errors, color=OURS, marker="o", ms=5, capsize=3, lw=1.2)
        axes.set_xticks(range(len(values)), [str(v) for v in values])
        axes.set(xlabel=short(name), ylabel="mean return")

    return figure(draw, 7.2)


def pareto(summary: Row) -> str:
    """Return over latency of every setting, the front, the budget and the recommendation."""
    found = [s for s in summary["settings"] if _placed(s)]
    by_name = {s["name"]: s for s in found}
    chosen = recommended(summary)
    styles = (
        ("complete", OURS, "o", "all episodes"),
        ("stopped", GREY, "x", "stopped early: worse"),
        ("over budget", PALE, "x", "stopped early: over the budget"),
        ("failed", WARM, "x", "failed later"),
        ("running", GREY, ".", "interrupted"),
    )

    def draw(axes: Any) -> None:
        for status, colour, marker, label in styles:
            some = [s for s in found if s["status"] == status]
            if some:
                x, y = [_p99(s) for s in some], [s["return_mean"] for s in some]
                axes.plot(x, y, marker, color=colour, ms=5, label=label)
            if status == "complete" and some:
                errors = np.array([_error(s) for s in some]).T
                axes.errorbar(x, y, yerr=errors, fmt="none", color=colour, alpha=0.3, lw=1)
        front = [by_name[name] for name in summary["front"] if name in by_name]
        x, y = [_p99(s) for s in front], [s["return_mean"] for s in front]
        axes.step(x, y, where="post", color=GREEN, lw=1.4, label="front")
        axes.axvline(summary["budget_ms"], color=WARM, lw=1.2, ls="--", label="budget")
        if summary["trained"] in by_name:
            _spot(axes, by_name[summary["trained"]], "D", "black", "as trained")
        if chosen is not None:
            _spot(axes, chosen, "*", GREEN, "recommended")
        if max(map(_p99, found)) > 8 * min(map(_p99, found)):
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:g}")
        axes.set(xlabel="p99 of a decision, milliseconds", ylabel="mean return")
        axes.legend(fontsize=8, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1))

    return figure(draw, 9.2, 4.2) if found else ""


def _spot(axes: Any, setting: Row, marker: str, colour: str, label: str) -> None:
    size = 15 if marker == "*" else 7
    axes.plot(
        _p99(setting),
        setting["return_mean"],
        marker,
        ms=size,
        mfc="none" if marker != "*" else colour,
        mec=colour if marker != "*" else "white",
        label=label,
    )


def _placed(setting: Row) -> bool:
    return setting["return_mean"] is not None and bool(setting["plan_ms"]["p99"])


def _p99(setting: Row) -> float:
    return setting["plan_ms"]["p99"]


def _error(setting: Row) -> tuple[float, float]:
    """How far the interval reaches below and above the mean."""
    low, high = (math.nan if end is None else end for end in setting["return_ci95"])
    mean = setting["return_mean"]
    return max(mean - low, 0), max(high - mean, 0)


def recommended(summary: Row) -> Row | None:
    """The recommended setting's figures."""
    if summary["recommendation"] is None:
        return None
    name = summary["recommendation"]["name"]
    return next(s for s in summary["settings"] if s["name"] == name)


def short(name: str) -> str:
    """A setting's name without the planner's prefix."""
    return name.removeprefix("planner.")
