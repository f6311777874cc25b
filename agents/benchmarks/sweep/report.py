"""What a sweep writes: rows, one self-contained page, Markdown, TOML."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from agents.benchmarks.report import TABLE_STYLE
from agents.benchmarks.sweep import plots as sweep_plots
from agents.benchmarks.sweep.config import SweepPlan
from agents.benchmarks.sweep.decide import Candidate
from agents.benchmarks.sweep.tables import tables
from agents.benchmarks.sweep.toml import recommended_toml, training_toml
from agents.reports.tables import Table, number, plain_markdown
from agents.runs.directory import plain
from agents.storage.files import write_atomically
from agents.training.report import STYLE

Row = dict[str, Any]
TILE_STYLE = ".tile b{overflow-wrap:anywhere}"


def write_outputs(plan: SweepPlan, candidates: Sequence[Candidate], summary: Row) -> None:
    """Write all files of a sweep but its points. Raises StorageError."""
    out = plan.directory
    rows = [row for candidate in candidates for row in candidate.rows]
    lines = [json.dumps(plain(row), sort_keys=True, separators=(",", ":")) for row in rows]
    _write(out / "results.jsonl", "".join(f"{line}\n" for line in lines))
    _write(out / "summary.json", json.dumps(summary, indent=2) + "\n")
    _write(out / "summary.md", markdown(summary))
    _write(out / "report.html", page(summary))
    _write_recommendation(out, candidates, summary)


def _write_recommendation(out: Path, candidates: Sequence[Candidate], summary: Row) -> None:
    """The recommendation's files, in place of an earlier sweep's.

    Those of an earlier sweep stay while this one has not come to its end.
    """
    if not summary["complete"]:
        return
    texts, found = {}, summary["recommendation"]
    if found is not None and found["training"]:
        config = next(c.setting.config for c in candidates if c.name == found["name"])
        texts["recommended-train.toml"] = training_toml(config)
    if found is not None:
        texts["recommended.toml"] = recommended_toml(summary)
    for name, text in texts.items():
        _write(out / name, text)
    for name in {"recommended.toml", "recommended-train.toml"} - texts.keys():
        (out / name).unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    write_atomically(path, text.encode())


def markdown(summary: Row) -> str:
    """summary.md."""
    parts = ["# Sweep", *map(plain_markdown, (_counts(summary), summary["verdict"]))]
    return "\n\n".join(parts + [t.markdown() for t in tables(summary).values()]) + "\n"


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


def page(summary: Row) -> str:
    """report.html; nothing in it is fetched from elsewhere."""
    title = f"Sweep: {summary['task']}"
    made = tables(summary)
    cards = [
        _card("Return and latency", sweep_plots.pareto(summary), _pareto_note(summary), "wide"),
        _card("Return over the grid", sweep_plots.heat_map(summary), _heat_note(summary), "wide"),
        _toml_card(summary),
        *[_table(table) for table in made.values()],
    ]
    return f"""<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<title>{escape(title)}</title><style>{STYLE}{TABLE_STYLE}{TILE_STYLE}</style><main>
<h1>{escape(title)}</h1><p class="sub">{escape(_counts(summary))}</p>
<div class="tiles">{_tiles(summary)}</div>
<p>{escape(summary["verdict"])}</p>
<div class="grid">{"".join(cards)}</div>
</main></html>
"""


def _tiles(summary: Row) -> str:
    found = summary["recommendation"]
    tiles = [("none", "setting keeps the budget" if summary["complete"] else "recommended yet")]
    if found:
        low, high = (number(end) for end in found["return_ci95"])
        tiles = [
            (found["name"], "recommended"),
            (number(found["return_mean"]), f"return, 95 % interval {low} to {high}"),
            (f"{number(found['plan_ms']['p99'])} ms", "p99 of a decision"),
        ]
        if found["speedup_over_trained"]:
            tiles.append((f"{found['speedup_over_trained']:.2g}x", "as fast as trained, at p99"))
    tiles.append((f"{number(summary['budget_ms'])} ms", f"budget: {summary['budget_from']}"))
    return "".join(
        f'<div class="tile"><b>{escape(b)}</b><span>{escape(s)}</span></div>' for b, s in tiles
    )


def _pareto_note(summary: Row) -> str:
    return "Up and to the left is better. On the front: " + ("; ".join(summary["front"]) or "none")


def _heat_note(summary: Row) -> str:
    shown = sweep_plots.widest_axes(summary)
    others = [sweep_plots.short(n) for n in summary["axes"] if n not in shown]
    best = f"Best over {', '.join(others)}. " if others else ""
    return f"{best}In brackets: over the budget. Star: stopped early. Frame: recommended."


def _toml_card(summary: Mapping[str, Any]) -> str:
    if summary["recommendation"] is None:
        return ""
    text = escape(recommended_toml(summary))
    return _card("recommended.toml", f"<pre>{text}</pre>", "For --config of every verb that plans.")


def _card(title: str, body: str, note: str = "", kind: str = "") -> str:
    below = f'<p class="note">{escape(note)}</p>' if note else ""
    return f'<section class="card {kind}"><h2>{escape(title)}</h2>{body}{below}</section>'


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table.header)
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows
    )
    body = f'<div class="scroll"><table><tr>{head}</tr>{rows}</table></div>'
    return _card(table.title, body, table.note, "wide")
