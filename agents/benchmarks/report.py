"""summary.md and report.html of a bench: one text and one self-contained page from its summary."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from agents.benchmarks import plots as bench_plots
from agents.reports.published import published_curves
from agents.reports.tables import Table, number, plain_markdown, score, tables
from agents.storage.files import write_atomically
from agents.training.report import STYLE

Row = dict[str, Any]
TABLE_STYLE = """
.scroll{overflow-x:auto}table{width:100%;font-variant-numeric:tabular-nums}
th{text-align:left;color:#59636e;font-weight:600;padding:4px 14px 4px 0;
border-bottom:1px solid #d1d9e0;white-space:nowrap}
td{padding:4px 14px 4px 0;border-bottom:1px solid #eef1f4}
.failed{border-color:#d1242f}.failed h2{color:#d1242f}
"""


def write_summary_md(summary: Row) -> str:
    """The summary as Markdown."""
    parts = ["# Bench", plain_markdown(_counts(summary))]
    return "\n\n".join(parts + [t.markdown() for t in tables(summary).values()]) + "\n"


def write_bench_html(
    path: Path,
    summary: Row,
    curves: Mapping[str, Sequence[Row]] | None = None,
    videos: Mapping[str, Path] | None = None,
) -> Path:
    """Write report.html; nothing in it is fetched from elsewhere.

    `curves`: task to its trainings, each {"label", "frames": [n], "returns": [n]}. `videos`: title
    to an mp4 file; one that is not there is named. Raises StorageError.
    """
    write_atomically(Path(path), _page(summary, curves or {}, videos or {}).encode())
    return Path(path)


def _page(summary: Row, curves: Mapping[str, Sequence[Row]], videos: Mapping[str, Path]) -> str:
    made = tables(summary)
    title = f"Bench of {', '.join(summary['agents'])} on {', '.join(summary['tasks'])}"
    body = [_table(made.pop("failures"), "failed")] if "failures" in made else []
    body += _figures(summary, made)
    body += [
        _curve(task, summary, curves.get(task, []))
        for task in summary["tasks"]
        if curves.get(task) or published_curves(task)
    ]
    body += [_table(table) for table in made.values()]
    body += [_video(name, Path(file)) for name, file in sorted(videos.items())]
    return f"""<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<title>{escape(title)}</title><style>{STYLE}{TABLE_STYLE}</style><main>
<h1>{escape(title)}</h1><p class="sub">{escape(_counts(summary))}</p>
<div class="tiles">{_tiles(summary)}</div>
<div class="grid">{"".join(body)}</div>
</main></html>
"""


def _counts(summary: Row) -> str:
    valid, asked = summary["episodes_valid"], summary["episodes_asked"]
    parts = [
        f"{valid:,} of {asked:,} episodes valid",
        f"tasks: {', '.join(summary['tasks']) or 'none'}",
        f"agents: {', '.join(summary['agents']) or 'none'}",
        f"clocks: {', '.join(summary['clocks']) or 'none'}",
        f"failed runs: {len(summary['failures'])}",
    ]
    return " · ".join(parts)


def _tiles(summary: Row) -> str:
    tiles = [
        (score(o["iqm"]), f"IQM of {o['agent']}, {_ends(o['iqm_ci95'])}")
        for o in summary["overall"]
        if o["clock"] == "free"
    ]
    tiles += [
        (score(i["probability"]), f"probability that plan beats prior, {_ends(i['ci95'])}")
        for i in summary["improvement"]
        if (i["a"], i["b"], i["clock"]) == ("plan", "prior", "free")
    ]
    tiles.append((number(len(summary["failures"])), "failed runs"))
    return "".join(
        f'<div class="tile"><b>{escape(b)}</b><span>{escape(s)}</span></div>' for b, s in tiles
    )


def _ends(interval: list) -> str:
    low, high = (score(x) for x in interval)
    return f"95 % interval {low} to {high}"


def _figures(summary: Row, made: dict[str, Table]) -> list[str]:
    """Cards of the figures over tasks, those that have something to show."""
    found = []
    if any(o["iqm"] is not None for o in summary["overall"]):
        overall = made["overall"].note
        found.append(_card("Interquartile mean", bench_plots.iqm_bars(summary), overall))
        note = "Higher is better everywhere; bands are 95 %, point by point."
        found.append(_card("Performance profile", bench_plots.profiles(summary), note))
    wanted = (
        ("improvement", bench_plots.improvement, ""),
        ("clocks", bench_plots.clock_costs, ""),
        ("gaps", bench_plots.gaps, "wide"),
    )
    for name, draw, kind in wanted:
        if name in made and _has_scale(summary, name):
            found.append(_card(made[name].title, draw(summary), made[name].note, kind))
    return found


def _has_scale(summary: Row, name: str) -> bool:
    """Whether any of the tasks a figure shows has scores."""
    shown = {"gaps": "gaps", "clocks": "clock_costs"}.get(name)
    if shown is None:
        return any(i["probability"] is not None for i in summary[name])
    return any(summary["scales"][row["task"]]["low"] is not None for row in summary[shown])


def _curve(task: str, summary: Row, trainings: Sequence[Row]) -> str:
    known = "Grey: other published methods; sources in agents/reports/published.py."
    note = known if published_curves(task) else "No published figures are known for this task."
    return _card(task, bench_plots.curves(task, summary, trainings), note)


def _card(title: str, body: str, note: str = "", kind: str = "") -> str:
    below = f'<p class="note">{escape(note)}</p>' if note else ""
    return f'<section class="card {kind}"><h2>{escape(title)}</h2>{body}{below}</section>'


def _table(table: Table, kind: str = "") -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table.header)
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows
    )
    body = f'<div class="scroll"><table><tr>{head}</tr>{rows}</table></div>'
    return _card(table.title, body, table.note, f"wide {kind}")


def _video(name: str, path: Path) -> str:
    try:
        data = base64.b64encode(path.read_bytes()).decode()
    except OSError as error:
        return _card(name, "", f"No video: {error.strerror}")
    tag = f'<video controls loop muted src="data:video/mp4;base64,{data}"></video>'
    return _card(name, tag)
