"""The results of a bench of shifted worlds: a table, and a page with the curves."""

from pathlib import Path

import numpy as np

from agents.reports.html import Card, Page
from agents.reports.plots import OURS, WARM, Rule, Series, chart
from agents.reports.tables import Row, Table

COLUMNS = {
    "world": lambda row: row["shift"] or "as trained",
    "success": lambda row: "{:.3f}".format(row["success"]),
    "95 %": lambda row: "{:.2f} to {:.2f}".format(*row["success_interval"]),
    "surprise": lambda row: "{:.3g}".format(row["surprise"]),
    "AUROC": lambda row: "{:.2f}".format(row["auroc"]),
    "flagged": lambda row: "{:.2f}".format(row["flagged"]),
}


def table(summary: Row) -> Table:
    """One row a world."""
    title = f"{summary['env_id']} in shifted worlds ({summary['mode']}, {summary['goals']} goals)"
    note = (
        "Surprise: error of the model's predictions over the distance of two random observations. "
        "AUROC: episodes told from those of the usual world by it. Rank correlation of lost "
        f"success with it, over worlds: {summary['drop_surprise_rank']:.2f}."
    )
    return Table.of(title, note, summary["worlds"], COLUMNS)


def write_shift_html(path: Path, summary: Row) -> None:
    """A self-contained page."""
    shown, kinds = table(summary), dict.fromkeys(r["kind"] for r in summary["worlds"] if r["kind"])
    curves = [_curve(summary, kind) for kind in kinds]
    Page(shown.title, shown.note, [*curves, Card("All worlds", [shown], kind="wide")]).write(path)


def _curve(summary: Row, kind: str) -> Card:
    """Success with its interval, and AUROC of surprise, over the levels of one kind."""
    from envs.native.shift import Shift

    usual = {**summary["worlds"][0], "level": getattr(Shift(), kind)}
    worlds = [usual, *(row for row in summary["worlds"] if row["kind"] == kind)]
    rows = sorted(worlds, key=lambda row: row["level"])
    levels, ends = [r["level"] for r in rows], np.array([r["success_interval"] for r in rows]).T
    success = Series(levels, [r["success"] for r in rows], "success", OURS, "o-", *ends)
    surprise = Series(levels, [r["auroc"] for r in rows], "AUROC of surprise", WARM, "--")
    trained = Rule(usual["level"], style="-", axis="x")
    words = {"xlabel": kind, "ylim": (-0.03, 1.05)}
    return Card(kind, [chart([success, surprise], words, rules=[trained], size=(3.6, 2.6))])
