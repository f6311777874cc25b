"""The files of a sweep: rows, one self-contained page, Markdown, TOML."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from agents.benchmarks.result_sets import Row, write_results
from agents.benchmarks.sweep.config import SweepPlan
from agents.benchmarks.sweep.decide import Candidate
from agents.benchmarks.sweep.summary import recommended_toml, training_toml
from agents.benchmarks.sweep.tables import tables
from agents.reports.html import Card, Page
from agents.reports.plots import GREEN, GREY, OURS, PALE, WARM, Rule, Series, chart, heat_map
from agents.reports.tables import markdown, number
from agents.storage.files import write_atomically

STATUS = {
    "complete": (OURS, "o", "all episodes"),  # these with their intervals
    "stopped": (GREY, "x", "stopped early: worse"),
    "over budget": (PALE, "x", "stopped early: over the budget"),
    "failed": (WARM, "x", "failed later"),
    "running": (GREY, ".", "interrupted"),
}
"""Color, marker and label of what became of a setting."""
MAX_NUMBERED = 80
"""Cells of a heat-map beyond which its numbers are left out."""


def write_outputs(plan: SweepPlan, candidates: Sequence[Candidate], summary: Row) -> None:
    """Write all files of a sweep but its cases. Raises StorageError."""
    rows = [row for candidate in candidates for row in candidate.rows]
    lead = [_counts(summary), summary["verdict"]]
    text = markdown("Sweep", lead, tables(summary))
    write_results(plan.directory, rows, summary, text)
    page(summary).write(plan.directory / "report.html")
    if summary["complete"]:  # else those of an earlier sweep stay
        _write_recommendation(plan, candidates, summary)


def _write_recommendation(plan: SweepPlan, candidates: Sequence[Candidate], summary: Row) -> None:
    """The recommendation's files, in place of an earlier sweep's."""
    texts, found = {}, summary["recommendation"]
    if found:
        texts["recommended.toml"] = recommended_toml(summary)
    if found and found["training"]:
        config = next(c.setting.config for c in candidates if c.name == found["name"])
        texts["recommended-train.toml"] = training_toml(config)
    for name in ("recommended.toml", "recommended-train.toml"):
        if name in texts:
            write_atomically(plan.directory / name, texts[name].encode())
        else:
            (plan.directory / name).unlink(missing_ok=True)


def _counts(summary: Row) -> str:
    stopped = sum(s["status"] in ("stopped", "over budget") for s in summary["settings"])
    parts = [
        summary["task"],
        f"{len(summary['settings'])} settings",
        f"{stopped} stopped early",
        f"{summary['episodes_run']:,} of {summary['episodes_of_full_grid']:,} episodes run",
        f"clock {summary['clock']}",
        f"budget {number(summary['budget_ms'])} ms: {summary['budget_from']}",
        f"compiling took {number(summary['compile_s'])} s",
    ]
    if given := summary["planner"]:
        parts.insert(2, "for all " + " ".join(f"{k}={v}" for k, v in given.items()))
    return " · ".join(parts)


def page(summary: Row) -> Page:
    """report.html."""
    names = widest_axes(summary)
    rest = ", ".join(_short(n) for n in summary["axes"] if n not in names)
    best = f"Best over {rest}. " if rest else ""
    front = "; ".join(summary["front"]) or "none"
    cards = [
        Card(
            "Return and latency",
            _pareto(summary),
            f"Up and to the left is better. On the front: {front}",
            "wide",
        ),
        Card(
            "Return over the grid",
            [_heat_map(summary, names) if len(names) > 1 else _line(summary, names[0])],
            f"{best}In brackets: over the budget. Star: stopped early. Frame: recommended.",
            "wide",
        ),
    ]
    if summary["recommendation"]:
        note = "For --config of every verb that plans."
        cards.append(Card("recommended.toml", [recommended_toml(summary)], note))
    cards += map(Card.of, tables(summary))
    title = f"Sweep: {summary['task']}"
    return Page(title, _counts(summary), cards, lead=summary["verdict"])


def widest_axes(summary: Row) -> list[str]:
    """The two grid axes with most values, or the one there is; those with one value are none."""
    axes = {name: values for name, values in summary["axes"].items() if len(values) > 1}
    widest = sorted(axes, key=lambda name: -len(axes[name]))[:2]
    return widest or list(summary["axes"])[:1]


def best_cells(summary: Row, names: Sequence[str]) -> dict[tuple[int, ...], Row]:
    """Index on each named axis to the best setting there, over the other axes.

    Settings within the budget come before those over it.
    """
    cells: dict[tuple[int, ...], Row] = {}
    for setting in sorted(_known(summary), key=lambda s: (s["feasible"], s["return_mean"])):
        if setting["asked"]:
            at = (summary["axes"][name].index(setting["asked"][name]) for name in names)
            cells[tuple(at)] = setting
    return cells


def _known(summary: Row) -> list[Row]:
    return [s for s in summary["settings"] if s["return_mean"] is not None]


def _heat_map(summary: Row, names: Sequence[str]) -> Markup:
    """Mean return over two axes: in brackets when over the budget, with a star when stopped."""
    across, down = (summary["axes"][name] for name in names)
    grid, texts, frame = np.full((len(down), len(across)), np.nan), {}, None
    for (x, y), setting in best_cells(summary, names).items():
        grid[y, x] = setting["return_mean"]
        text = f"{grid[y, x]:.4g}" + "*" * (setting["status"] == "stopped")
        texts[y, x] = text if setting["feasible"] else f"({text})"
        if setting["name"] == _recommended(summary):
            frame = y, x
    words = {"xlabel": _short(names[0]), "ylabel": _short(names[1])}
    shown = texts if grid.size <= MAX_NUMBERED else {}
    return heat_map(grid, words, shown, frame, (across, down), "mean return")


def _line(summary: Row, name: str) -> Markup:
    """Return over one axis, with intervals."""
    cells, values = best_cells(summary, [name]), summary["axes"][name]
    found = sorted(((i, s) for (i,), s in cells.items()), key=lambda at: at[0])
    low, high = _ends([s for _, s in found])
    means = [s["return_mean"] for _, s in found]
    curve = Series([i for i, _ in found], means, fmt="o-", low=low, high=high)
    words = {"xlabel": _short(name), "ylabel": "mean return"}
    ticks = {"xticks": range(len(values)), "xticklabels": list(map(str, values))}
    return chart([curve], words | ticks, size=(7.2, 3.2))


def _pareto(summary: Row) -> list[Markup]:
    """Return over latency of every setting, the front, the budget and the recommendation."""
    found = {s["name"]: s for s in _known(summary) if s["plan_ms"]["p99"]}
    if not found:
        return []
    groups = [
        ([name for name, s in found.items() if s["status"] == status], *look, {"ms": 5})
        for status, look in STATUS.items()
    ]
    groups += [
        (summary["front"], GREEN, "-", "front", {"drawstyle": "steps-post"}),
        ([summary["trained"]], "black", "D", "as trained", {"ms": 7, "mfc": "none"}),
        ([_recommended(summary)], GREEN, "*", "recommended", {"ms": 15, "mec": "white"}),
    ]
    series = []
    for names, color, fmt, label, style in groups:
        if some := [found[name] for name in names if name in found]:
            x, y = [s["plan_ms"]["p99"] for s in some], [s["return_mean"] for s in some]
            ends = _ends(some) if fmt == "o" else (None, None)
            series.append(Series(x, y, label, color, fmt, *ends, style=style))
    times = [s["plan_ms"]["p99"] for s in found.values()]
    return [
        chart(
            series,
            {"xlabel": "p99 of a decision, milliseconds", "ylabel": "mean return"},
            rules=[Rule(summary["budget_ms"], "budget", WARM, axis="x")],
            log="x" if max(times) > 8 * min(times) else "",
            legend=4,
            size=(9.2, 4.2),
        )
    ]


def _recommended(summary: Row) -> str | None:
    """Name of the recommended setting."""
    return (summary["recommendation"] or {}).get("name")


def _ends(settings: Sequence[Row]) -> tuple[list, list]:
    """Low and high ends of the intervals of returns."""
    intervals = [s["return_ci95"] for s in settings]
    return [low for low, _ in intervals], [high for _, high in intervals]


def _short(name: str) -> str:
    """A setting's name without the planner's prefix."""
    return name.removeprefix("planner.")
