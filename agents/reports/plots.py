"""The figures of a report, each as inline SVG text. Matplotlib is loaded by the first one."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np

from agents.reports.published import REFERENCE, published_curves

OURS, PALE, GREY, WARM = "#1f6feb", "#a8c7fa", "#8b949e", "#d1242f"
Row = dict[str, Any]


def figure(draw: Callable[[Any], None], width: float = 6.0, height: float = 3.2) -> str:
    """SVG of one set of axes that `draw` fills."""
    import matplotlib

    style: Any = {
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": GREY,
        "axes.grid": True,
        "grid.color": "#e6e8eb",
        "legend.frameon": False,
        "svg.fonttype": "path",
        "svg.hashsalt": "latentmpc",
        "text.parse_math": False,  # labels are names, of files and tasks among others
        "text.usetex": False,
    }
    with matplotlib.rc_context(style):
        from matplotlib.figure import Figure
        from matplotlib.ticker import LogFormatter

        fig = Figure(figsize=(width, height), layout="constrained")
        axes = fig.add_subplot()
        draw(axes)
        for axis in (axes.xaxis, axes.yaxis):
            if axis.get_scale() == "log":  # its ticks would be mathematics, too
                axis.set_major_formatter(LogFormatter())
                axis.set_minor_formatter(LogFormatter())
        out = io.StringIO()
        fig.savefig(out, format="svg", metadata={"Date": None}, transparent=True)
    text = out.getvalue()
    return text[text.index("<svg") :]


def _column(rows: list[Row], kind: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Frames and values of a metric, where it was written."""
    found = [r for r in rows if r["kind"] == kind and r.get(name) is not None]
    frames = np.array([r["frames"] for r in found], float)
    return frames, np.array([r[name] for r in found], float)


def learning_curve(rows: list[Row], result: Row) -> str:
    """Training episodes, evaluations and the final result over frames, with published curves."""

    def draw(axes: Any) -> None:
        ours = max([r["frames"] for r in rows] + [result["frames"]], default=1)
        for method, points in published_curves(result["env_id"]).items():
            near = [p for p in points if p.frames <= 2.2 * ours] or points[:1]
            x, y = [p.frames for p in near], [p.mean for p in near]
            main = method == REFERENCE
            axes.errorbar(
                x,
                y,
                yerr=[p.std or 0 for p in near] if main else None,
                color="black" if main else GREY,
                lw=1.6 if main else 0.7,
                alpha=1 if main else 0.5,
                marker="o" if main else ".",
                ms=4,
                capsize=3,
                label=f"{method}, published" if main else None,
            )
        x, y = _column(rows, "episode", "return")
        axes.plot(x, y, ".", color=PALE, ms=4, label="training episodes")
        x, y = _column(rows, "eval", "return_mean")
        _, spread = _column(rows, "eval", "return_std")
        axes.errorbar(
            x, y, yerr=spread, color=OURS, marker="o", ms=3, capsize=2, label="evaluation"
        )
        low, high = result["return_ci95"]
        mean = result["return_mean"]
        if mean is not None:  # of episodes that were all invalid there is none
            axes.errorbar(
                [result["frames"]],
                [mean],
                yerr=[[max(mean - low, 0)], [max(high - mean, 0)]],
                color=OURS,
                marker="D",
                ms=7,
                capsize=4,
                label="final, 95 % interval",
            )
        axes.set(xlabel="frames", ylabel="return")
        axes.legend(fontsize=8)

    return figure(draw, 9.2, 3.8)


def lines(rows: list[Row], names: dict[str, str], log: bool = False) -> str:
    """Training metrics over frames; `names` maps metric to label."""

    def draw(axes: Any) -> None:
        for name, label in names.items():
            x, y = _column(rows, "train", name)
            if len(x):
                axes.plot(x, y, lw=1.2, marker="." if len(x) == 1 else None, label=label)
        if log:
            axes.set_yscale("log")
        axes.set(xlabel="frames")
        if axes.lines:
            axes.legend(fontsize=8)

    return figure(draw)


def latency(milliseconds: list[float], period_ms: float) -> str:
    """Histogram of decision times with percentiles and the control period."""

    def draw(axes: Any) -> None:
        values = np.asarray(milliseconds, float)
        top = max(float(np.percentile(values, 99.5)) * 1.2, 1e-3)
        axes.hist(np.clip(values, 0, top), bins=60, color=OURS, alpha=0.8)
        for q, style in ((50, "-"), (95, "--"), (99, ":")):
            value = float(np.percentile(values, q))
            axes.axvline(value, color="black", ls=style, lw=1, label=f"p{q} {value:.1f} ms")
        if period_ms < top:
            axes.axvline(period_ms, color=WARM, lw=1.5, label=f"control period {period_ms:.0f} ms")
        else:
            axes.plot(
                [], [], color=WARM, label=f"control period {period_ms:.0f} ms (off the scale)"
            )
        axes.set(xlabel="milliseconds a decision", ylabel="decisions")
        axes.legend(fontsize=8)

    return figure(draw)


def predicted_realised(predicted: list[float], realised: list[float]) -> str:
    """What the planner promised against what came."""

    def draw(axes: Any) -> None:
        both = [*predicted, *realised]
        ends = [min(both), max(both)]
        axes.plot(ends, ends, color=GREY, lw=1, label="as promised")
        axes.plot(realised, predicted, ".", color=OURS, ms=4, alpha=0.6)
        axes.set(xlabel="realised discounted return", ylabel="predicted")
        axes.legend(fontsize=8)

    return figure(draw)


def prediction_error(errors: list[float]) -> str:
    """Open-loop latent error against the number of steps ahead."""

    def draw(axes: Any) -> None:
        axes.plot(np.arange(1, len(errors) + 1), errors, color=OURS, marker="o", ms=4)
        axes.axhline(1, color=GREY, lw=1, ls="--", label="a random pair of latents")
        axes.set(xlabel="decisions ahead", ylabel="relative squared error", ylim=(0, None))
        axes.legend(fontsize=8)

    return figure(draw)
