"""inspect.html: one self-contained page of what a model knows and where it fails."""

import json
from html import escape
from typing import Any

import numpy as np

from agents.inspection import plots as plots
from agents.inspection.surprise import BEFORE
from agents.training.report import STYLE

MORE = """
.card img{max-width:100%;image-rendering:pixelated;display:block}
.small{display:grid;grid-template-columns:repeat(auto-fill,minmax(290px,1fr));gap:14px}
.small h3{font-size:13.5px;margin:0 0 4px;font-weight:600}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
th{text-align:left;padding:2px 14px 2px 0;font-weight:600}
"""


FEW = 5
"""Test episodes below which their intervals are narrower than what is not known."""


def page(result: dict[str, Any], pictures: np.ndarray | None) -> str:
    """The page as text; `pictures` [C, 3, K, H, W, 3] are those of the decoder."""
    title = f"What the latents of {result['run']} know"
    parts = (
        _probes(result["probes"]),
        _open_loop(result["open_loop"]),
        _counterfactuals(result["counterfactuals"]),
        _events(result["events"]),
        _geometry(result["geometry"]),
        _decoder(result["decoder"], pictures),
        _details(result),
    )
    return f"""<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<title>{escape(title)}</title><style>{STYLE}{MORE}</style><main>
<h1>{escape(title)}</h1><p class="sub">{_subtitle(result)}</p>
<div class="tiles">{_tiles(result)}</div><div class="grid">{"".join(parts)}</div></main></html>
"""


def _subtitle(result: dict[str, Any]) -> str:
    count = result["test_episodes"]
    parts = [
        result["env_id"],
        f"objective {result['objective']}",
        f"sees {result['sees']}, {result['history']} frames",
        f"{result['action_block']} decisions a step",
        f"test episodes only: {count}" + (", too few to believe intervals" if count < FEW else ""),
    ]
    return escape(" · ".join(parts))


def _tiles(result: dict[str, Any]) -> str:
    tiles = []
    for kind, label in (("position", "positions"), ("angle", "angles"), ("velocity", "velocities")):
        if rows := [row for row in result["probes"] if row["kind"] == kind]:
            worst = min(rows, key=lambda row: row["mlp"]["r2"])
            tiles.append((_num(worst["mlp"]["r2"]), f"R², least of {label} ({worst['name']}, MLP)"))
    curve = result["open_loop"]
    tiles.append(
        (
            _num(curve["model"]["mean"][-1]),
            f"error {len(curve['model']['mean'])} steps ahead (copying: "
            f"{_num(curve['copy']['mean'][-1])}, guessing: 1)",
        )
    )
    for name in ("teleport", "velocity reversal", "colour (control)"):
        if "auroc" in (row := result["events"].get(name, {})):
            tiles.append((_num(row["auroc"]), f"AUROC, {name}"))
    shape = result["geometry"]
    share = f"effective rank of {shape['dimensions']} dimensions"
    tiles.append((_num(shape["effective_rank"]), share))
    return "".join(
        f'<div class="tile"><b>{escape(b)}</b><span>{escape(s)}</span></div>' for b, s in tiles
    )


def _probes(rows: list[dict[str, Any]]) -> str:
    table = [
        (
            row["name"],
            row["kind"],
            _interval(row["linear"], "r2"),
            _interval(row["mlp"], "r2"),
            _num(row["linear"]["auroc"]) if "auroc" in row["linear"] else "",
        )
        for row in rows
    ]
    note = (
        "Probes learn on train episodes, choose their strength on validation episodes and are "
        "scored on test episodes; intervals resample test episodes. 1 is perfect, 0 is the mean."
    )
    header = ("quantity", "kind", "linear R²", "MLP R²", "AUROC, linear")
    body = plots.probes(rows) + _fold("Figures", _table(header, table))
    return _card("What can be read from a latent", body, note, wide=True)


def _open_loop(curves: dict[str, Any]) -> str:
    note = (
        "Predictions fed with predictions under the actions taken, against the encoded truth. "
        "Dashed: two random moments."
    )
    return _card("Open-loop prediction", plots.open_loop(curves), note)


def _counterfactuals(rows: Any) -> str:
    if isinstance(rows, dict):
        return _card("Counterfactuals", "", rows["note"])
    note = (
        f"From {rows[0]['starts']} test moments the simulator tries several action sequences; the "
        "prediction for each should be nearest to its own outcome."
    )
    return _card("Counterfactuals", plots.counterfactuals(rows), note)


def _events(found: dict[str, Any]) -> str:
    scored = {name: row for name, row in found.items() if isinstance(row, dict) and "auroc" in row}
    left = [
        f"{name}: {row['note']}"
        for name, row in found.items()
        if isinstance(row, dict) and "note" in row
    ]
    if "note" in found and isinstance(found["note"], str):
        left = [found["note"]]
    note = (
        "Surprise is the squared distance between the predicted and the encoded embedding. Events "
        "and controls differ in the event alone. " + " ".join(f"Left out: {x}." for x in left)
    )
    if not scored:
        return _card("Violation of expectation", "", note, wide=True)
    small = "".join(
        f"<div><h3>{escape(name)}</h3>{plots.surprise(row, BEFORE)}</div>"
        for name, row in scored.items()
    )
    body = plots.events(scored) + f'<div class="small">{small}</div>'
    return _card("Violation of expectation", body, note, wide=True)


def _geometry(shape: dict[str, Any]) -> str:
    straight = "; ".join(
        f"{name} {_interval(row, 'mean')}" for name, row in shape["straightness"].items()
    )
    note = (
        f"Effective rank {_num(shape['effective_rank'])} of {shape['dimensions']} "
        f"({100 * shape['effective_rank_share']:.0f} %). Straightness of paths (mean cosine of "
        f"consecutive steps): {straight}."
    )
    return _card("Shape of the latents", plots.spread(shape["std"]), note)


def _decoder(looked: dict[str, Any], pictures: np.ndarray | None) -> str:
    if pictures is None:
        return _card("Decoder", "", f"No pictures: {looked['note']}.")
    clips, kinds, columns = pictures.shape[:3]
    grid = pictures.reshape(clips * kinds, columns, *pictures.shape[3:])
    steps = ", ".join(map(str, looked["steps"]))
    note = (
        f"Three test clips; columns are {steps} steps ahead; rows of each clip: true, decoded from "
        "the encoding of that moment, decoded from the prediction. Trained after the fact, only to "
        f"look. Mean squared error {_num(looked['error'])} (the mean picture: "
        f"{_num(looked['mean_picture_error'])})."
    )
    return _card("Decoded, only to look", plots.pictures(grid), note, wide=True)


def _details(result: dict[str, Any]) -> str:
    shown = ("checkpoint", "dataset", "settings", "seconds", "versions")
    text = json.dumps({name: result.get(name) for name in shown}, indent=1)
    return _card(
        "Made from", _fold("Settings and versions", f"<pre>{escape(text)}</pre>"), wide=True
    )


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    head = "".join(
        f'<th class="{"n" if i > 1 else ""}">{escape(h)}</th>' for i, h in enumerate(header)
    )
    body = "".join(
        "<tr>"
        + "".join(f'<td class="{"n" if i > 1 else ""}">{escape(c)}</td>' for i, c in enumerate(row))
        + "</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _fold(title: str, body: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{body}</details>"


def _card(title: str, body: str, note: str = "", wide: bool = False) -> str:
    kind = "card wide" if wide else "card"
    below = f'<p class="note">{escape(note)}</p>' if note else ""
    return f'<section class="{kind}"><h2>{escape(title)}</h2>{body}{below}</section>'


def _interval(row: dict[str, Any], name: str) -> str:
    if row["low"] is None:
        return f"{_num(row[name])} (no interval)"
    return f"{_num(row[name])} ({_num(row['low'])} to {_num(row['high'])})"


def _num(value: Any) -> str:
    if not isinstance(value, int | float):
        return "not known"
    return f"{value:.3f}" if abs(value) >= 0.1 or value == 0 else f"{value:.2g}"
