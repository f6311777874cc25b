"""report.html: one self-contained page of a run, made from the files in its directory."""

import base64
import json
from html import escape
from pathlib import Path
from typing import Any

from agents.reports import plots
from agents.reports.published import REFERENCE, published_at
from agents.runs.directory import RunDir
from agents.storage import sealed
from agents.storage.files import CheckpointError, write_atomically

MOST_VIDEO = 1 << 28
STYLE = """
:root{color-scheme:light}*{box-sizing:border-box}
body{margin:0;background:#f6f8fa;color:#1f2328;font:15px/1.5 system-ui,-apple-system,sans-serif}
main{max-width:1040px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:26px;margin:0}h2{font-size:16px;margin:0 0 8px}
p.sub{margin:4px 0 20px;color:#59636e}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(155px,1fr));gap:12px}
.tile,.card{background:#fff;border:1px solid #d1d9e0;border-radius:8px;padding:14px}
.tile b{display:block;font-size:22px;line-height:1.2;font-variant-numeric:tabular-nums}
.tile span{color:#59636e;font-size:12.5px}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(440px,1fr));gap:14px;margin-top:14px}
.wide{grid-column:1/-1}.card svg,.card video{width:100%;height:auto;display:block}
.card video{max-width:640px;margin:0 auto;border-radius:6px}
.note{color:#59636e;margin:6px 0 0;font-size:13px}
code,pre{font:13px/1.5 ui-monospace,monospace}
pre{background:#f6f8fa;padding:10px;border-radius:6px;overflow:auto;margin:0;white-space:pre-wrap}
table{border-collapse:collapse;font-size:13px}td{padding:2px 14px 2px 0;vertical-align:top}
@media(max-width:520px){.grid{grid-template-columns:1fr}}
"""
LOSSES = {
    "loss/consistency": "consistency",
    "loss/reward": "reward",
    "loss/value": "value",
    "loss/termination": "termination",
    "grad_norm": "gradient norm",
}
SCALES = {"value_mean": "value", "target_mean": "TD target", "value_scale": "5-95 % range"}
PLANNER = {
    "planner/effective_samples": "effective samples",
    "planner/elite_spread": "spread of the plan",
    "prior_std": "std of the prior",
}


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
        page = _page(result, rows, evaluation, config, _video(run_dir, result))
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise CheckpointError(
            f"{run_dir}: no report from its {run.result.name} and {run.metrics.name} ({error!r})"
        ) from None
    write_atomically(run.report, page.encode())
    return run.report


def _page(result: dict, rows: list, evaluation: dict, config: dict, video: str) -> str:
    title = f"{result['env_id']}, {result['env_steps']:,} decisions"
    return f"""<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<title>{escape(title)}</title><style>{STYLE}</style><main>
<h1>{escape(str(result["env_id"]))}</h1><p class="sub">{_subtitle(result)}</p>
<div class="tiles">{_tiles(result)}</div>
<div class="grid">{_cards(result, rows, evaluation)}{video}{_details(result, config)}</div>
</main></html>
"""


def _subtitle(result: dict) -> str:
    parts = [
        f"{result['env_steps']:,} decisions ({result['frames']:,} frames)",
        f"{result['updates']:,} updates",
        f"{result['params']:,} parameters",
        f"seed {result.get('seed', '?')}",
    ]
    return escape(" · ".join(parts))


def _tiles(result: dict) -> str:
    low, high = result["return_ci95"]
    plan = result["plan_ms"]
    tiles = [
        (
            _number(result["return_mean"]),
            f"return, 95 % interval {_number(low)} to {_number(high)}",
        ),
        (f"{result['episodes_valid']} / {result['episodes_asked']}", "valid episodes / asked"),
        (_number(result["prior_return_mean"]), "return of the prior alone"),
        (_number(result["random_return_mean"]), "return of random actions"),
    ]
    if point := published_at(result["env_id"], result["frames"]):
        spread = "" if point.std is None else f" ± {_number(point.std)}"
        label = f"{REFERENCE}, published, at {point.frames:,} frames"
        tiles.append((_number(point.mean) + spread, label))
    tiles += [
        (
            f"{_number(plan['p50'])} ms",
            f"a decision; p95 {_number(plan['p95'])}, p99 {_number(plan['p99'])}",
        ),
        (_duration(result["train_wall_s"]), "training"),
        (_duration(result["total_wall_s"]), f"in all, {_number(result['compile_s'])} s compiling"),
    ]
    return "".join(
        f'<div class="tile"><b>{escape(b)}</b><span>{escape(s)}</span></div>' for b, s in tiles
    )


def _cards(result: dict, rows: list, evaluation: dict) -> str:
    period = 1e3 * result["control_dt"] * result["action_repeat"]
    cards = [_card("Learning", plots.learning_curve(rows, result), _curve_note(result), wide=True)]
    if any(row["kind"] == "train" for row in rows):
        cards.append(_card("Losses", plots.lines(rows, LOSSES, log=True)))
        cards.append(_card("Values", plots.lines(rows, SCALES)))
        cards.append(_card("Search", plots.lines(rows, PLANNER, log=True)))
    if evaluation.get("plan_ms"):
        note = "One simulator, deterministic planner, compilation apart."
        cards.append(_card("Latency", plots.latency(evaluation["plan_ms"], period), note))
    if evaluation.get("predicted"):
        picture = plots.predicted_realised(evaluation["predicted"], evaluation["realised"])
        note = "The planner's own estimate at moments of the evaluation, against what followed."
        cards.append(_card("Predicted and realised return", picture, note))
    if evaluation.get("k_step_error"):
        note = "Latents rolled out open-loop under the actions taken, against the encoded truth."
        picture = plots.prediction_error(evaluation["k_step_error"])
        cards.append(_card("Latent prediction error", picture, note))
    return "".join(cards)


def _curve_note(result: dict) -> str:
    if published_at(result["env_id"], result["frames"]):
        return "Grey: other published methods on this task; sources in agents/reports/published.py."
    return "No published figures are known for this task."


def _card(title: str, body: str, note: str = "", wide: bool = False) -> str:
    kind = "card wide" if wide else "card"
    below = f'<p class="note">{escape(note)}</p>' if note else ""
    return f'<section class="{kind}"><h2>{escape(title)}</h2>{body}{below}</section>'


def _video(run_dir: Path, result: dict) -> str:
    path = run_dir / "video.mp4"
    if result.get("video") != path.name or not path.exists():
        return _card(
            "Video", "", f"No video: {result.get('video') or 'none was rendered'}", wide=True
        )
    data = base64.b64encode(sealed.read(path.parent, path.name, MOST_VIDEO)).decode()
    tag = f'<video controls autoplay loop muted src="data:video/mp4;base64,{data}"></video>'
    return _card("An evaluation episode", tag, wide=True)


def _details(result: dict, config: dict) -> str:
    versions = "".join(
        f"<tr><td>{escape(k)}</td><td>{escape(str(v))}</td></tr>"
        for k, v in result["versions"].items()
    )
    settings = escape(json.dumps(config, indent=2))
    body = (
        f"<pre>{escape(str(result.get('command', '')))}</pre>"
        f'<p class="note">Settings digest {escape(result["config_digest"][:16])}</p>'
        f"<details><summary>Versions</summary><table>{versions}</table></details>"
        f"<details><summary>Settings</summary><pre>{settings}</pre></details>"
    )
    return _card("Made by", body, wide=True)


def _number(value: Any) -> str:
    """A figure with as many digits as it deserves."""
    if not isinstance(value, int | float):
        return "not known"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min"
