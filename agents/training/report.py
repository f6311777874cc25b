"""report.html: one self-contained page of a run, made from the files in its directory."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from markupsafe import Markup

from agents.reports.html import Card, Fold, Page, video
from agents.reports.plots import GREY, PALE, WARM, Rule, Series, chart, histogram, published
from agents.reports.published import REFERENCE, published_at
from agents.reports.tables import Row, Table, number
from agents.runs.directory import RunDir
from agents.storage.files import CheckpointError

LOSSES = {
    **{f"loss/{name}": name for name in ("consistency", "reward", "value", "termination")},
    "grad_norm": "gradient norm",
}
SCALES = {"value_mean": "value", "target_mean": "TD target", "value_scale": "5-95 % range"}
PLANNER = {
    "planner/effective_samples": "effective samples",
    "planner/elite_spread": "spread of the plan",
    "prior_std": "std of the prior",
}
CURVES = (("Losses", LOSSES, "y"), ("Values", SCALES, ""), ("Search", PLANNER, "y"))
"""(title, metric to label, logarithmic axes)."""


def write_report(run_dir: Path) -> Path:
    """Write RUN/report.html from result.json, eval.json, metrics.jsonl and video.mp4.

    What is missing is left out or named. Raises StorageError, or CheckpointError for a file that
    cannot be read.
    """
    run = RunDir(run_dir)
    result, rows = run.read_table(run.result.name), run.read_metrics()
    evaluation, config = (
        run.read_table(name) if (run_dir / name).exists() else {}
        for name in ("eval.json", run.config.name)
    )
    try:
        page = _page(run_dir, result, rows, evaluation, config)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise CheckpointError(
            f"{run_dir}: no report from its {run.result.name} and {run.metrics.name} ({error!r})"
        ) from None
    return page.write(run.report)


def _page(run_dir: Path, result: Row, rows: list[Row], evaluation: Row, config: Row) -> Page:
    parts = [
        f"{result['env_steps']:,} decisions ({result['frames']:,} frames)",
        f"{result['updates']:,} updates",
        f"{result['params']:,} parameters",
        f"seed {result.get('seed', '?')}",
    ]
    cards = [*_cards(result, rows, evaluation), _video(run_dir, result), _details(result, config)]
    return Page(str(result["env_id"]), " · ".join(parts), cards, _tiles(result))


def _tiles(result: Row) -> list[tuple[str, str]]:
    low, high = result["return_ci95"]
    plan = result["plan_ms"]
    tiles = [
        (number(result["return_mean"]), f"return, 95 % interval {number(low)} to {number(high)}"),
        (f"{result['episodes_valid']} / {result['episodes_asked']}", "valid episodes / asked"),
        (number(result["prior_return_mean"]), "return of the prior alone"),
        (number(result["random_return_mean"]), "return of random actions"),
    ]
    if point := published_at(result["env_id"], result["frames"]):
        spread = "" if point.std is None else f" ± {number(point.std)}"
        label = f"{REFERENCE}, published, at {point.frames:,} frames"
        tiles.append((number(point.mean) + spread, label))
    return [
        *tiles,
        (
            f"{number(plan['p50'])} ms",
            f"a decision; p95 {number(plan['p95'])}, p99 {number(plan['p99'])}",
        ),
        (_duration(result["train_wall_s"]), "training"),
        (_duration(result["total_wall_s"]), f"in all, {number(result['compile_s'])} s compiling"),
    ]


def _cards(result: Row, rows: list[Row], evaluation: Row) -> Iterator[Card]:
    note = "No published figures are known for this task."
    if published_at(result["env_id"], result["frames"]):
        note = "Grey: other published methods on this task; sources in agents/reports/published.py."
    yield Card("Learning", [_learning(rows, result)], note, "wide")
    if any(row["kind"] == "train" for row in rows):
        for title, names, log in CURVES:
            yield Card(title, [_metrics(rows, names, log)])
    if evaluation.get("plan_ms"):
        period = 1e3 * result["control_dt"] * result["action_repeat"]
        note = "One simulator, deterministic planner, compilation apart."
        yield Card("Latency", [_latency(evaluation["plan_ms"], period)], note)
    if evaluation.get("predicted"):
        predicted, realised = evaluation["predicted"], evaluation["realised"]
        ends = [min(predicted + realised), max(predicted + realised)]
        promised = Series(ends, ends, "as promised", GREY)
        came = Series(realised, predicted, fmt=".", style={"ms": 4, "alpha": 0.6})
        words = {"xlabel": "realised discounted return", "ylabel": "predicted"}
        note = "The planner's own estimate at moments of the evaluation, against what followed."
        yield Card("Predicted and realised return", [chart([promised, came], words)], note)
    if errors := evaluation.get("k_step_error"):
        curve = Series(np.arange(1, len(errors) + 1), errors, fmt="o-", style={"ms": 4})
        guess = Rule(1, "a random pair of latents")
        words = {"xlabel": "decisions ahead", "ylabel": "relative squared error", "ylim": (0, None)}
        note = "Latents rolled out open-loop under the actions taken, against the encoded truth."
        figure = chart([curve], words, rules=[guess])
        yield Card("Latent prediction error", [figure], note)


def _column(rows: list[Row], kind: str, name: str) -> tuple[list, list]:
    """Frames and values of a metric, where it was written."""
    found = [r for r in rows if r["kind"] == kind and r.get(name) is not None]
    return [r["frames"] for r in found], [r[name] for r in found]


def _learning(rows: list[Row], result: Row) -> Markup:
    """Training episodes, evaluations and the final result over frames, with published curves."""
    frames, means = _column(rows, "eval", "return_mean")
    ends = [
        np.add(means, sign * np.array(_column(rows, "eval", "return_std")[1])) for sign in (-1, 1)
    ]
    final, style = ([result["frames"]], [result["return_mean"]]), {"ms": 3, "capsize": 2}
    interval = [[end] for end in result["return_ci95"]]
    last = {"fmt": "D", "low": interval[0], "high": interval[1], "style": {"ms": 7, "capsize": 4}}
    series = [
        *published(result["env_id"], max([r["frames"] for r in rows] + [result["frames"]])),
        Series(*_column(rows, "episode", "return"), "training episodes", PALE, "."),
        Series(frames, means, "evaluation", fmt="o-", low=ends[0], high=ends[1], style=style),
        Series(*final, "final, 95 % interval", **last),
    ]
    return chart(series, {"xlabel": "frames", "ylabel": "return"}, size=(9.2, 3.8))


def _metrics(rows: list[Row], names: dict[str, str], log: str) -> Markup:
    """Training metrics over frames; `names` maps metric to label."""
    found = {label: _column(rows, "train", name) for name, label in names.items()}
    series = [
        Series(x, y, label, None, "-" if len(x) > 1 else ".", style={"lw": 1.2})
        for label, (x, y) in found.items()
        if x
    ]
    return chart(series, {"xlabel": "frames"}, log=log)


def _latency(milliseconds: list[float], period_ms: float) -> Markup:
    """Histogram of decision times with percentiles and the control period."""
    top = max(float(np.percentile(milliseconds, 99.5)) * 1.2, 1e-3)
    rules = []
    for q, style in ((50, "-"), (95, "--"), (99, ":")):
        at = float(np.percentile(milliseconds, q))
        rules.append(Rule(at, f"p{q} {at:.1f} ms", "black", style, "x"))
    hidden = "" if period_ms < top else " (off the scale)"
    period = f"control period {period_ms:.0f} ms{hidden}"
    rules.append(Rule(period_ms if not hidden else np.nan, period, WARM, "-", "x"))
    words = {"xlabel": "milliseconds a decision", "ylabel": "decisions"}
    return histogram(milliseconds, words, top, rules)


def _video(run_dir: Path, result: Row) -> Card:
    path = run_dir / "video.mp4"
    if result.get("video") == path.name and path.exists():
        return Card("An evaluation episode", [video(path)], kind="wide")
    why = f"No video: {result.get('video') or 'none was rendered'}"
    return Card("Video", note=why, kind="wide")


def _details(result: Row, config: Row) -> Card:
    versions = [[name, str(version)] for name, version in result["versions"].items()]
    parts = [
        str(result.get("command", "")),
        Fold("Versions", Table("Versions", "", ("package", "version"), versions)),
        Fold("Settings", json.dumps(config, indent=2)),
    ]
    return Card("Made by", parts, f"Settings digest {result['config_digest'][:16]}", "wide")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min"
