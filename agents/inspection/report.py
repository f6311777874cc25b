"""inspect.html: one self-contained page of probes, predictions and events."""

import json
from typing import Any

import numpy as np
from markupsafe import Markup

from agents.inspection.surprise import BEFORE
from agents.reports.html import Card, Fold, Page, Small, pictures
from agents.reports.plots import GREEN, GREY, OURS, WARM, Rule, Series, chart, ranking
from agents.reports.tables import Row, Table

MIN_EPISODES = 5
"""Test episodes below which their intervals are narrower than what is not known."""
MADE_FROM = ("checkpoint", "dataset", "settings", "seconds", "versions")


def page(result: Row, clips: np.ndarray | None) -> Page:
    """The page; `clips` [C, 3, K, H, W, 3] are the pictures of the decoder."""
    count = result["test_episodes"]
    few = ", too few to believe intervals" if count < MIN_EPISODES else ""
    parts = [
        result["env_id"],
        f"objective {result['objective']}",
        f"sees {result['sees']}, {result['history']} frames",
        f"{result['action_block']} decisions a step",
        f"test episodes only: {count}{few}",
    ]
    made = {name: result.get(name) for name in MADE_FROM}
    cards = [
        _probes(result["probes"]),
        _open_loop(result["open_loop"]),
        _counterfactuals(result["counterfactuals"]),
        _events(result["events"]),
        _geometry(result["geometry"]),
        _decoder(result["decoder"], clips),
        Card("Made from", [Fold("Settings and versions", json.dumps(made, indent=1))], "", "wide"),
    ]
    title = f"What the latents of {result['run']} know"
    return Page(title, " · ".join(parts), cards, _tiles(result))


def _tiles(result: Row) -> list[tuple[str, str]]:
    tiles = []
    for kind, label in (("position", "positions"), ("angle", "angles"), ("velocity", "velocities")):
        if rows := [row for row in result["probes"] if row["kind"] == kind]:
            worst = min(rows, key=lambda row: row["mlp"]["r2"])
            tiles.append((_num(worst["mlp"]["r2"]), f"R², least of {label} ({worst['name']}, MLP)"))
    model, copy = (result["open_loop"][name]["mean"] for name in ("model", "copy"))
    ahead = f"error {len(model)} steps ahead (copying: {_num(copy[-1])}, guessing: 1)"
    tiles.append((_num(model[-1]), ahead))
    for name in ("teleport", "velocity reversal", "colour (control)"):
        if "auroc" in (row := result["events"].get(name, {})):
            tiles.append((_num(row["auroc"]), f"AUROC, {name}"))
    shape = result["geometry"]
    rank = f"effective rank of {shape['dimensions']} dimensions"
    return [*tiles, (_num(shape["effective_rank"]), rank)]


def _probes(rows: list[Row]) -> Card:
    """R2 of linear and MLP probes with intervals, a quantity a line."""
    columns = {
        "quantity": lambda row: row["name"],
        "kind": lambda row: row["kind"],
        "linear R²": lambda row: _interval(row["linear"], "r2"),
        "MLP R²": lambda row: _interval(row["mlp"], "r2"),
        "AUROC, linear": lambda row: (
            _num(row["linear"]["auroc"]) if "auroc" in row["linear"] else ""
        ),
    }
    note = (
        "Learned on train episodes, strength chosen on validation episodes, scored on test "
        "episodes, which intervals resample. 1 is perfect, 0 is the mean."
    )
    series = []
    for shift, kind, color in ((-0.17, "linear", OURS), (0.17, "mlp", GREEN)):
        r2, *ends = np.clip(_columns([row[kind] for row in rows], "r2", "low", "high"), -0.2, 1)
        series.append(Series(r2, np.arange(len(rows)) + shift, kind, color, "o", *ends))
    words = {"xlabel": "R² on test episodes (95 % interval)", "xlim": (-0.22, 1.02)}
    names, zero = [row["name"] for row in rows], [Rule(0, axis="x")]
    figure = ranking(names, series, words, 9.5, rules=zero, legend=2)
    fold = Fold("Figures", Table.of("", "", rows, columns))
    return Card("What can be read from a latent", [figure, fold], note, "wide")


def _open_loop(curves: Row) -> Card:
    """Error against steps, beside a latent that stays as it was."""
    series = []
    for name, label, color in (
        ("model", "model, open loop", OURS),
        ("copy", "latent stays as it was", WARM),
    ):
        mean, *ends = (curves[name][end] for end in ("mean", "low", "high"))
        steps, style = np.arange(1, len(mean) + 1), {"ms": 3}
        series.append(Series(steps, mean, label, color, "o-", *ends, band=True, style=style))
    steps = f"steps ahead ({curves['step_s']:.3g} s each)"
    words = {"xlabel": steps, "ylabel": "squared error / random pair"}
    note = "Predictions of predictions under the recorded actions. Dashed: two random moments."
    return Card("Open-loop prediction", [chart(series, words, rules=[Rule(1)], log="y")], note)


def _counterfactuals(rows: Any) -> Card:
    """Share of predictions that are nearest to their own outcome, beside chance."""
    if isinstance(rows, dict):
        return Card("Counterfactuals", note=rows["note"])
    accuracy, *ends = _columns(rows, "accuracy", "low", "high")
    found = Series(accuracy, range(len(rows)), None, OURS, "o", *ends)
    chance = Rule(rows[0]["chance"], "chance", WARM, axis="x")
    names = [f"{row['steps']} steps ({row['seconds']:.2g} s)" for row in rows]
    words = {"xlabel": "nearest to its own outcome", "xlim": (0, 1.05)}
    note = (
        f"From {rows[0]['starts']} test moments the simulator tries several action sequences; the "
        "prediction for each should be nearest to its own outcome."
    )
    return Card("Counterfactuals", [ranking(names, [found], words, rules=[chance])], note)


def _events(found: Row) -> Card:
    """AUROC of every event with its interval, and surprise around each."""
    note = (
        "Surprise is the squared distance between the predicted and the encoded embedding. Events "
        "and controls differ in the event alone."
    )
    if isinstance(found.get("note"), str):  # nothing was staged
        return Card("Violation of expectation", [], f"{note} Left out: {found['note']}.", "wide")
    scored = {name: row for name, row in found.items() if "auroc" in row}
    for name, row in found.items():
        note += f" Left out: {name}: {row['note']}." if "note" in row else ""
    small = [Small(name, _surprise(row)) for name, row in scored.items()]
    parts = [_aurocs(scored), *small] if scored else []
    return Card("Violation of expectation", parts, note, "wide")


def _aurocs(scored: Row) -> Markup:
    series = []
    for line, (name, row) in enumerate(scored.items()):
        color = WARM if "control" in name else OURS
        value, *ends = _columns([row], "auroc", "low", "high")
        text = [f"{row['auroc']:.3f}"]
        series.append(Series(value, [line], None, color, "o", *ends, text=text))
    words = {"xlabel": "AUROC of surprise (0.5: not noticed)", "xlim": (0, 1.1)}
    return ranking(list(scored), series, words, 9.5, rules=[Rule(0.5, axis="x")])


def _surprise(row: Row) -> Markup:
    at = np.arange(len(row["event"])) - (BEFORE - 1)
    looks = (("event", "event", OURS), ("control", "without", GREY))
    series = [Series(at, row[k], label, c, "o-", style={"ms": 3}) for k, label, c in looks]
    event = Rule(0, color=WARM, style=":", axis="x")
    words = {"xlabel": "steps from the event", "ylabel": "surprise"}
    return chart(series, words, rules=[event], log="y", size=(4.2, 2.4))


def _geometry(shape: Row) -> Card:
    """Standard deviation of every dimension, largest first, and how straight paths are."""
    std = np.sort(shape["std"])[::-1]
    bars = Series(np.arange(1, len(std) + 1), std, style={"drawstyle": "steps-mid"})
    words = {"xlabel": "dimension, by spread", "ylabel": "standard deviation", "ylim": (0, None)}
    straight = "; ".join(
        f"{name} {_interval(row, 'mean')}" for name, row in shape["straightness"].items()
    )
    note = (
        f"Effective rank {_num(shape['effective_rank'])} of {shape['dimensions']} "
        f"({100 * shape['effective_rank_share']:.0f} %). Straightness of paths (mean cosine of "
        f"consecutive steps): {straight}."
    )
    return Card("Shape of the latents", [chart([bars], words)], note)


def _decoder(looked: Row, clips: np.ndarray | None) -> Card:
    if clips is None:
        return Card("Decoder", note=f"No pictures: {looked['note']}.")
    grid = clips.reshape(-1, *clips.shape[2:])
    steps = ", ".join(map(str, looked["steps"]))
    note = (
        f"Three test clips; columns are {steps} steps ahead; rows of each clip: true, decoded from "
        "the encoding of that moment, decoded from the prediction. Trained after the fact, only to "
        f"look. Mean squared error {_num(looked['error'])} (the mean picture: "
        f"{_num(looked['mean_picture_error'])})."
    )
    shown = pictures(grid, "true and decoded pictures")
    return Card("Decoded, only to look", [shown], note, "wide")


def _columns(rows: list[Row], *names: str) -> np.ndarray:
    """Columns [names, rows]; what is not known (None) is NaN."""
    return np.array([[row[name] for row in rows] for name in names], float)


def _interval(row: Row, name: str) -> str:
    if row["low"] is None:
        return f"{_num(row[name])} (no interval)"
    return f"{_num(row[name])} ({_num(row['low'])} to {_num(row['high'])})"


def _num(value: Any) -> str:
    if not isinstance(value, int | float):
        return "not known"
    return f"{value:.3f}" if abs(value) >= 0.1 or value == 0 else f"{value:.2g}"
