"""The figures of an inspection, as inline SVG or PNG."""

import base64
import io
from collections.abc import Iterable
from typing import Any

import numpy as np

from agents.reports.plots import GREY, OURS, PALE, WARM, figure

GREEN = "#1a7f37"


def _known(values: Iterable[Any]) -> np.ndarray:
    """Figures as they are stored, unknown ones (None) as NaN, which is not drawn."""
    return np.array(list(values), float)


def probes(rows: list[dict[str, Any]]) -> str:
    """R2 of linear and MLP probes with intervals, a quantity a line."""

    def draw(axes: Any) -> None:
        y = np.arange(len(rows))[::-1]
        for shift, name, colour in ((0.17, "linear", OURS), (-0.17, "mlp", GREEN)):
            r2, low, high = (
                _known(row[name][end] for row in rows) for end in ("r2", "low", "high")
            )
            shown = np.clip(r2, -0.2, 1)
            spread = np.stack([shown - np.clip(low, -0.2, 1), np.clip(high, -0.2, 1) - shown])
            axes.barh(y + shift, shown, 0.3, color=colour, alpha=0.85, label=name)
            axes.errorbar(
                shown, y + shift, xerr=np.maximum(spread, 0), fmt="none", ecolor="black", lw=0.9
            )
        axes.set_yticks(y, [row["name"] for row in rows])
        axes.set_xlim(-0.2, 1.02)
        axes.axvline(0, color=GREY, lw=0.8)
        axes.set_xlabel("R² on test episodes (95 % interval)")
        axes.legend(loc="upper center", ncols=2, bbox_to_anchor=(0.5, 1.0 + 0.5 / (len(rows) + 2)))

    return figure(draw, 9.5, 1.2 + 0.34 * len(rows))


def open_loop(curves: dict[str, Any]) -> str:
    """Error against steps, beside a latent that stays as it was."""

    def draw(axes: Any) -> None:
        for name, label, colour in (
            ("model", "model, open loop", OURS),
            ("copy", "latent stays as it was", WARM),
        ):
            curve = curves[name]
            k = np.arange(1, len(curve["mean"]) + 1)
            axes.plot(k, curve["mean"], color=colour, marker="o", ms=3, label=label)
            low, high = _known(curve["low"]), _known(curve["high"])
            axes.fill_between(k, low, high, color=colour, alpha=0.15, lw=0)
        axes.axhline(1, color=GREY, lw=0.8, ls="--")
        axes.set_xlabel(f"steps ahead ({curves['step_s']:.3g} s each)")
        axes.set_ylabel("squared error / random pair")
        axes.set_yscale("log")
        axes.legend()

    return figure(draw)


def events(found: dict[str, dict[str, Any]]) -> str:
    """AUROC of every event with its interval."""
    rows = [(name, row) for name, row in found.items() if "auroc" in row]

    def draw(axes: Any) -> None:
        y = np.arange(len(rows))[::-1]
        for at, (name, row) in zip(y, rows, strict=True):
            colour = WARM if "control" in name else OURS
            ends = _known((row["low"], row["high"]))
            axes.plot(ends, [at, at], color=colour, lw=2.5, alpha=0.5)
            axes.plot(row["auroc"], at, "o", color=colour)
            axes.annotate(
                f"{row['auroc']:.3f}",
                (row["auroc"], at),
                (0, 6),
                textcoords="offset points",
                ha="center",
                fontsize=8,
            )
        axes.set_yticks(y, [name for name, _ in rows])
        axes.axvline(0.5, color=GREY, lw=0.8, ls="--")
        axes.set_xlim(0.0, 1.05)
        axes.set_ylim(-0.6, len(rows) - 0.3)
        axes.set_xlabel("AUROC of surprise (0.5: not noticed)")

    return figure(draw, 9.5, 1.0 + 0.34 * len(rows))


def surprise(row: dict[str, Any], before: int) -> str:
    """Mean surprise around one event, and without it."""

    def draw(axes: Any) -> None:
        at = np.arange(len(row["event"])) - (before - 1)
        axes.plot(at, row["event"], color=OURS, marker="o", ms=3, label="event")
        axes.plot(at, row["control"], color=GREY, marker="o", ms=3, label="without")
        axes.axvline(0, color=WARM, lw=0.8, ls=":")
        axes.set_xlabel("steps from the event")
        axes.set_ylabel("surprise")
        axes.set_yscale("log")
        axes.legend()

    return figure(draw, 4.2, 2.4)


def spread(std: list[float]) -> str:
    """Standard deviation of every dimension, largest first."""

    def draw(axes: Any) -> None:
        values = np.sort(std)[::-1]
        axes.bar(np.arange(1, len(values) + 1), values, 1.0, color=PALE, edgecolor=OURS, lw=0.3)
        axes.set_xlabel("dimension, by spread")
        axes.set_ylabel("standard deviation")

    return figure(draw)


def counterfactuals(rows: list[dict[str, Any]]) -> str:
    """Accuracy beside chance."""

    def draw(axes: Any) -> None:
        x = np.arange(len(rows))
        means = np.array([row["accuracy"] for row in rows])
        ends = _known([row["low"], row["high"]] for row in rows)
        axes.bar(x, means, 0.45, color=OURS, alpha=0.85)
        axes.errorbar(
            x,
            means,
            yerr=np.maximum(np.abs(ends - means[:, None]).T, 0),
            fmt="none",
            ecolor="black",
            capsize=3,
        )
        axes.axhline(rows[0]["chance"], color=WARM, ls="--", lw=1, label="chance")
        axes.set_xticks(x, [f"{r['steps']} steps ({r['seconds']:.2g} s)" for r in rows])
        axes.set_xlim(-0.7, len(rows) - 0.3)
        axes.set_ylim(0, 1.05)
        axes.set_ylabel("nearest to its own outcome")
        axes.legend()

    return figure(draw)


def pictures(grid: np.ndarray, scale: int = 3) -> str:
    """An inline PNG of pictures uint8 [R, C, H, W, 3] in rows and columns, with gaps."""
    from PIL import Image

    rows, columns, height, width, _ = grid.shape
    gap = 2
    page = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for r in range(rows):
        for c in range(columns):
            y, x = r * (height + gap), c * (width + gap)
            page[y : y + height, x : x + width] = grid[r, c]
    page = page.repeat(scale, 0).repeat(scale, 1)
    out = io.BytesIO()
    Image.fromarray(page).save(out, "PNG")
    data = base64.b64encode(out.getvalue()).decode()
    return f'<img alt="true and decoded pictures" src="data:image/png;base64,{data}">'
