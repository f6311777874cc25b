"""Four kinds of figure as inline SVG: chart, ranking, histogram, heat map.

Matplotlib is loaded by the first one. Names stand as they are: no text is read as a formula.
"""

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from markupsafe import Markup

from agents.reports.published import REFERENCE, published_curves

OURS, PALE, GREY, WARM, GREEN = "#1f6feb", "#a8c7fa", "#8b949e", "#d1242f", "#1a7f37"
LONGEST = 32
"""Characters of a name beside a figure."""
STYLE: Any = {
    "font.size": 9,
    "legend.fontsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "grid.color": "#e6e8eb",
    "legend.frameon": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "latentmpc",
    "text.parse_math": False,  # a name may hold a $
    "text.usetex": False,
}


@dataclass(frozen=True)
class Series:
    """Points x, y [n] and the ends of their intervals; what is None or NaN is not drawn."""

    x: Any
    y: Any
    label: str | None = None
    color: str | None = OURS
    """None: another one for each."""
    fmt: str = "-"
    """Marker and line, as matplotlib writes them."""
    low: Any = None
    high: Any = None
    band: bool = False
    """The intervals are an area, not bars."""
    text: Sequence[str] = ()
    """Written beside each point."""
    style: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Rule:
    """A line across the whole figure, at a value of the y axis or of the x axis."""

    at: float
    label: str | None = None
    color: str = GREY
    style: str = "--"
    axis: str = "y"
    band: Sequence[float] | None = None
    """Ends of an interval around it."""


def figure(draw: Callable[[Any], None], size: tuple[float, float] = (6.0, 3.2)) -> Markup:
    """SVG of one set of axes that `draw` fills; `size` in inches."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        from matplotlib.figure import Figure

        fig = Figure(figsize=size, layout="constrained")
        draw(fig.add_subplot())
        out = io.StringIO()
        fig.savefig(out, format="svg", metadata={"Date": None}, transparent=True)
    text = out.getvalue()
    return Markup(text[text.index("<svg") :])


def chart(
    series: Iterable[Series],
    labels: Mapping[str, Any],
    *,
    rules: Iterable[Rule] = (),
    names: Sequence[str] = (),
    log: str = "",
    legend: int = 0,
    size: tuple[float, float] = (6.0, 3.2),
) -> Markup:
    """Series over x, with `labels` for `Axes.set`; with `names`, over y, a name a line.

    `log` names logarithmic axes ("y", "xy"); `legend` columns stand above the figure, 0 is inside.
    """

    def draw(axes: Any) -> None:
        for rule in rules:
            _rule(axes, rule)
        for one in series:
            _series(axes, one, across=bool(names))
        _scales(axes, log)
        axes.set(**labels)
        if names:
            axes.set_yticks(range(len(names)), map(_short, names))
            axes.set_ylim(len(names) - 0.4, -0.6)
            axes.grid(False, axis="y")
        handles, known = axes.get_legend_handles_labels()
        if known:
            above = {"ncols": legend, "loc": "lower center", "bbox_to_anchor": (0.5, 1)}
            axes.legend(handles, map(_short, known), **above if legend else {})

    return figure(draw, size)


def ranking(
    names: Sequence[str],
    series: Iterable[Series],
    labels: Mapping[str, Any],
    width: float = 6.0,
    **more: Any,
) -> Markup:
    """Values x with intervals across, y a line of `names`, the first on top. As `chart` else."""
    height = max(2.6, 1.2 + 0.32 * len(names))
    return chart(series, labels, names=names, size=(width, height), **more)


def histogram(
    values: Sequence[float], labels: Mapping[str, Any], top: float, rules: Iterable[Rule]
) -> Markup:
    """How often values [n] lie where; those above `top` stand at it."""

    def draw(axes: Any) -> None:
        axes.hist(np.clip(values, 0, top), bins=60, color=OURS, alpha=0.8)
        for rule in rules:
            _rule(axes, rule)
        axes.set(**labels)
        axes.legend()

    return figure(draw)


def heat_map(
    grid: np.ndarray,
    labels: Mapping[str, Any],
    texts: Mapping[tuple[int, int], str],
    frame: tuple[int, int] | None,
    ticks: tuple[Sequence[Any], Sequence[Any]],
    color_label: str,
) -> Markup:
    """Values [R, C] as colours (NaN is left out), with texts and one frame at (row, column)."""

    def draw(axes: Any) -> None:
        image = axes.pcolormesh(np.ma.masked_invalid(grid), cmap="viridis", edgecolors="white")
        axes.set_xticks(np.arange(len(ticks[0])) + 0.5, map(str, ticks[0]))
        axes.set_yticks(np.arange(len(ticks[1])) + 0.5, map(str, ticks[1]))
        axes.set(**labels)
        axes.grid(False)
        axes.figure.colorbar(image, ax=axes, label=color_label)
        for (row, column), text in texts.items():
            ink = "black" if image.norm(grid[row, column]) > 0.6 else "white"
            place = {"ha": "center", "va": "center", "fontsize": 8}
            axes.annotate(text, (column + 0.5, row + 0.5), color=ink, **place)
        if frame:
            x, y = frame[1], frame[0]
            corners = [x, x + 1, x + 1, x, x], [y, y, y + 1, y + 1, y]
            axes.plot(*corners, color=WARM, lw=2.5, clip_on=False)

    return figure(draw, (7.2, max(2.6, 1.2 + 0.5 * len(grid))))


def published(env_id: str, frames: float | None) -> list[Series]:
    """Published curves of a task up to about twice `frames`, the reference with its spread."""
    found = []
    for method, points in published_curves(env_id).items():
        near = [p for p in points if frames is None or p.frames <= 2.2 * frames] or points[:1]
        x, y = [p.frames for p in near], [p.mean for p in near]
        if method != REFERENCE:
            found.append(Series(x, y, None, GREY, ".-", style={"lw": 0.7, "alpha": 0.5, "ms": 4}))
            continue
        ends = [[p.mean + sign * (p.std or 0) for p in near] for sign in (-1, 1)]
        style = {"lw": 1.6, "ms": 4, "capsize": 3}
        found.append(
            Series(x, y, f"{method}, published", "black", "o-", ends[0], ends[1], style=style)
        )
    return found


def _series(axes: Any, one: Series, across: bool) -> None:
    x, y, low, high = (np.array(given, float) for given in (one.x, one.y, one.low, one.high))
    options = {"color": one.color, "label": one.label, **one.style}
    if one.low is None or one.band:
        axes.plot(x, y, one.fmt, **options)
    else:
        value = x if across else y
        reach = np.maximum([value - low, high - value], 0)
        bars = {"elinewidth": 4, "xerr": reach} if across else {"capsize": 3, "yerr": reach}
        axes.errorbar(x, y, fmt=one.fmt, **bars | options)
    if one.band:
        axes.fill_between(x, low, high, color=one.color, alpha=0.13, lw=0)
    for text, *at in zip(one.text, np.fmax(x, high) if across else x, y, strict=False):
        axes.annotate(text, at, (7, 0), textcoords="offset points", va="center", fontsize=8)


def _short(name: str) -> str:
    """A name that leaves room for the figure."""
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"


def _rule(axes: Any, rule: Rule) -> None:
    line, span = (axes.axhline, axes.axhspan) if rule.axis == "y" else (axes.axvline, axes.axvspan)
    line(rule.at, color=rule.color, ls=rule.style, lw=1.2, label=rule.label)
    if rule.band is not None:
        span(*rule.band, color=rule.color, alpha=0.1, lw=0)


def _scales(axes: Any, log: str) -> None:
    """Logarithmic axes, their figures without formulae."""
    from matplotlib.ticker import LogFormatter

    for name in log:
        axes.set(**{f"{name}scale": "log"})
        axis = getattr(axes, f"{name}axis")
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(LogFormatter())
