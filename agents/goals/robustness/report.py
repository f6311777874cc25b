"""What a bench of shifted worlds shows: a table, and a page with the curves."""

import html
from pathlib import Path
from typing import Any

from agents.reports.plots import GREY, OURS, WARM, figure
from agents.reports.tables import Table
from agents.storage.files import write_atomically

Row = dict[str, Any]
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>body{{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}}
table{{border-collapse:collapse}}td,th{{padding:.2rem .8rem;border-bottom:1px solid #e6e8eb;
text-align:left}}section{{display:flex;flex-wrap:wrap;gap:1rem}}</style>
<h1>{title}</h1><p>{note}</p><section>{figures}</section>{table}</html>"""


def table(summary: Row) -> Table:
    """One row a world."""
    rows = [
        [
            row["shift"] or "as trained",
            "{:.3f}".format(row["success"]),
            "{:.2f} to {:.2f}".format(*row["success_interval"]),
            "{:.3g}".format(row["surprise"]),
            "{:.2f}".format(row["auroc"]),
            "{:.2f}".format(row["flagged"]),
        ]
        for row in summary["worlds"]
    ]
    header = ("world", "success", "95 %", "surprise", "AUROC", "flagged")
    return Table(_title(summary), _note(summary), header, rows)


def _title(summary: Row) -> str:
    return f"{summary['env_id']} in shifted worlds ({summary['mode']}, {summary['goals']} goals)"


def _note(summary: Row) -> str:
    rank = summary["drop_surprise_rank"]
    return (
        "Surprise: error of the model's predictions over the distance of two random observations. "
        "AUROC: episodes told from those of the usual world by it. Rank correlation of lost "
        f"success with it, over worlds: {rank:.2f}."
    )


def write_shift_html(path: Path, summary: Row) -> None:
    """A self-contained page."""
    shown = table(summary)
    cells = "".join(f"<th>{html.escape(name)}</th>" for name in shown.header)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
        for row in shown.rows
    )
    kinds = dict.fromkeys(row["kind"] for row in summary["worlds"] if row["kind"])
    page = PAGE.format(
        title=html.escape(_title(summary)),
        note=html.escape(_note(summary)),
        figures="".join(_curve(summary, kind) for kind in kinds),
        table=f"<table><tr>{cells}</tr>{body}</table>",
    )
    write_atomically(path, page.encode())


def _curve(summary: Row, kind: str) -> str:
    """Success with its interval, and AUROC of surprise, over the levels of one kind."""
    usual = {**summary["worlds"][0], "level": 1.0 if _is_factor(kind) else 0.0}
    rows = sorted(
        [usual, *(r for r in summary["worlds"] if r["kind"] == kind)], key=lambda r: r["level"]
    )

    def draw(axes: Any) -> None:
        x, y = [r["level"] for r in rows], [r["success"] for r in rows]
        low = [r["success"] - r["success_interval"][0] for r in rows]
        high = [r["success_interval"][1] - r["success"] for r in rows]
        axes.errorbar(x, y, yerr=[low, high], color=OURS, marker="o", capsize=3, label="success")
        axes.plot(x, [r["auroc"] for r in rows], color=WARM, ls="--", label="AUROC of surprise")
        axes.axvline(usual["level"], color=GREY, lw=0.8)
        axes.set(xlabel=kind, ylim=(-0.03, 1.05))
        axes.legend(fontsize=8)

    return figure(draw, 3.6, 2.6)


def _is_factor(kind: str) -> bool:
    from envs.native.shift import Shift

    return getattr(Shift(), kind) == 1.0
