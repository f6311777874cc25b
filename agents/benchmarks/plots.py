"""The figures of a bench's report, each as inline SVG text."""

from collections.abc import Sequence
from typing import Any

from agents.benchmarks.results import FREE
from agents.reports.plots import GREY, OURS, figure
from agents.reports.published import REFERENCE, published_curves
from agents.reports.tables import one_way, policy

Row = dict[str, Any]
COLOURS = {
    "plan": OURS,
    "prior": "#8250df",
    "oracle": "#1a7f37",
    "random": GREY,
    "zero": "#bf8700",
}
OTHERS = ("#cf222e", "#0a7ea4", "#953800", "#116329")
MARKERS = ("<", "v", "x", "+")
DASHES = ("-", "--", ":", "-.")


def colour(agent: str, agents: Sequence[str]) -> str:
    """An agent's colour, the same in every figure."""
    unknown = [a for a in agents if a not in COLOURS]
    return COLOURS.get(agent) or OTHERS[unknown.index(agent) % len(OTHERS)]


def dash(clock: str, clocks: Sequence[str]) -> str:
    """A clock's line style."""
    return DASHES[list(clocks).index(clock) % len(DASHES)]


def iqm_bars(summary: Row) -> str:
    """Interquartile mean of each agent and clock with its interval."""
    found = [o for o in summary["overall"] if o["iqm"] is not None]

    def draw(axes: Any) -> None:
        for i, o in enumerate(found):
            shade = colour(o["agent"], summary["agents"])
            axes.barh(i, o["iqm"], color=shade, alpha=0.35 if o["clock"] == FREE else 0.2)
            axes.plot(o["iqm_ci95"], [i, i], color=shade, lw=4, solid_capstyle="butt")
            axes.plot(o["iqm"], i, "o", color=shade, ms=7)
            end = max(o["iqm"], *o["iqm_ci95"])
            axes.annotate(
                f"{o['iqm']:.3f}",
                (end, i),
                xytext=(7, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
        _names(axes, [policy(o["agent"], o["clock"]) for o in found])
        axes.set(xlabel="interquartile mean of scores, 95 % interval")
        axes.margins(x=0.12)

    return figure(draw, height=_height(len(found)))


def profiles(summary: Row) -> str:
    """Share of runs x tasks above each score, with pointwise bands."""

    def draw(axes: Any) -> None:
        for o in summary["overall"]:
            at = o["profile"]
            if o["iqm"] is None:
                continue
            shade, style = (
                colour(o["agent"], summary["agents"]),
                dash(o["clock"], summary["clocks"]),
            )
            name = policy(o["agent"], o["clock"])
            axes.plot(at["score"], at["share"], color=shade, ls=style, lw=1.5, label=name)
            axes.fill_between(at["score"], at["low"], at["high"], color=shade, alpha=0.12, lw=0)
        axes.set(xlabel="score", ylabel="share of runs above it", ylim=(-0.02, 1.02))
        _legend_above(axes)

    return figure(draw, height=_height(len(summary["overall"])) + 0.3)


def improvement(summary: Row) -> str:
    """Probability that one agent beats another, each pair once."""
    found = [i for i in one_way(summary) if i["probability"] is not None]

    def draw(axes: Any) -> None:
        for i, pair in enumerate(found):
            shade = colour(pair["a"], summary["agents"])
            axes.plot(pair["ci95"], [i, i], color=shade, lw=4, alpha=0.45, solid_capstyle="butt")
            axes.plot(pair["probability"], i, "o", color=shade, ms=6)
        axes.axvline(0.5, color="black", lw=1, ls="--")
        text = [f"{p['a']} over {policy(p['b'], p['clock'])}" for p in found]
        _names(axes, text)
        axes.set(xlabel="probability of improvement, 95 % interval", xlim=(-0.03, 1.03))

    return figure(draw, height=_height(len(found)))


def gaps(summary: Row) -> str:
    """Scores of random, prior, plan and oracle on each task: where return is won and lost."""
    found = [g for g in summary["gaps"] if summary["scales"][g["task"]]["low"] is not None]
    markers = {"random": "|", "prior": "s", "plan": "o", "oracle": "D"}
    spans = (("prior", "plan", COLOURS["plan"]), ("plan", "oracle", COLOURS["oracle"]))

    def draw(axes: Any) -> None:
        for i, gap in enumerate(found):
            at = {a: _score(v, summary["scales"][gap["task"]]) for a, v in gap["returns"].items()}
            for low, high, shade in spans:
                if at[low] is not None and at[high] is not None:
                    axes.plot([at[low], at[high]], [i, i], color=shade, lw=5, alpha=0.25)
            for agent in [a for a in markers if at[a] is not None]:
                axes.plot(at[agent], i, markers[agent], color=COLOURS[agent], ms=7, mew=1.5)
        for agent, marker in markers.items():
            axes.plot([], [], marker, color=COLOURS[agent], ms=7, mew=1.5, label=agent)
        _names(axes, [policy(g["task"], g["clock"]) for g in found])
        axes.set(xlabel="score (blue: what planning adds; green: what model error costs)")
        _legend_above(axes)

    return figure(draw, 9.2, _height(len(found)) + 0.3)


def clock_costs(summary: Row) -> str:
    """Scores under free compute and under each clock, a line an agent and task."""
    found = [c for c in summary["clock_costs"] if summary["scales"][c["task"]]["low"] is not None]
    names = list(dict.fromkeys((c["task"], c["agent"]) for c in found))
    clocks = [c for c in summary["clocks"] if c != FREE]

    def draw(axes: Any) -> None:
        for c in found:
            at, scale = names.index((c["task"], c["agent"])), summary["scales"][c["task"]]
            free, late = _score(c["return_free"], scale), _score(c["return_clock"], scale)
            shade = colour(c["agent"], summary["agents"])
            if free is not None and late is not None:
                axes.plot([free, late], [at, at], color=shade, lw=4, alpha=0.15)
                axes.plot(free, at, "o", color=shade, ms=7)
                axes.plot(late, at, MARKERS[clocks.index(c["clock"]) % 4], color="black", ms=6)
        axes.plot([], [], "o", color=OURS, ms=7, label="free compute")
        for i, clock in enumerate(clocks):
            axes.plot([], [], MARKERS[i % 4], color="black", ms=6, label=clock)
        _names(axes, [f"{task}, {agent}" for task, agent in names])
        axes.set(xlabel="score")
        _legend_above(axes)

    return figure(draw, height=_height(len(names)) + 0.3)


def curves(task: str, summary: Row, trainings: Sequence[Row]) -> str:
    """Our trainings over frames and this bench's returns, beside published curves."""
    ends = [t["frames"][-1] for t in trainings if len(t["frames"])]

    def draw(axes: Any) -> None:
        for method, points in published_curves(task).items():
            near = [p for p in points if not ends or p.frames <= 2.2 * max(ends)] or points[:1]
            main = method == REFERENCE
            axes.errorbar(
                [p.frames for p in near],
                [p.mean for p in near],
                yerr=[p.std or 0 for p in near] if main else None,
                color="black" if main else GREY,
                alpha=1 if main else 0.5,
                lw=1.5 if main else 0.7,
                marker="o" if main else ".",
                ms=4,
                capsize=3,
                label=f"{method}, published" if main else None,
            )
        for i, t in enumerate(trainings):
            name = t["label"] if len(trainings) <= 3 else "trainings" if i == 0 else None
            axes.plot(t["frames"], t["returns"], color=OURS, lw=1.2, alpha=0.7, label=name)
        _levels(axes, task, summary)
        axes.set(xlabel="frames", ylabel="return")
        _legend_above(axes, 3)

    return figure(draw, height=3.6)


def _levels(axes: Any, task: str, summary: Row) -> None:
    """Mean returns of this bench as horizontal lines, the interval as a band."""
    for cell in summary["cells"]:
        if cell["task"] != task or cell["return_mean"] is None or cell["agent"] == "zero":
            continue
        shade = colour(cell["agent"], summary["agents"])
        style = dash(cell["clock"], summary["clocks"])
        name = policy(cell["agent"], cell["clock"])
        axes.axhline(cell["return_mean"], color=shade, ls=style, lw=1.2, label=name)
        if cell["return_ci95"][0] is not None and cell["clock"] == FREE:
            axes.axhspan(*cell["return_ci95"], color=shade, alpha=0.1, lw=0)


def _score(value: float | None, scale: Row) -> float | None:
    return None if value is None else (value - scale["low"]) / (scale["high"] - scale["low"])


def _names(axes: Any, names: list[str]) -> None:
    """Names down the left side, the first on top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(False, axis="y")


def _legend_above(axes: Any, columns: int = 4) -> None:
    axes.legend(fontsize=8, ncols=columns, loc="lower center", bbox_to_anchor=(0.5, 1))


def _height(rows: int) -> float:
    return max(2.6, 0.9 + 0.32 * rows)
