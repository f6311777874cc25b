"""`latentmpc inspect RUN`: what the latents of a trained model know, and where they fail."""

import math
from collections.abc import Iterator
from typing import Any

from agents.inspection.config import InspectConfig
from agents.reports.tables import Table
from agents.runs.config import ConfigError
from agents.runs.pretrain_config import is_pretrained
from scripts.checks import check_planner
from scripts.verb import Verb


def check(config: InspectConfig) -> None:
    """Raise ConfigError for planner settings where nothing is planned."""
    check_planner(config.path, config.planner)
    if config.planner.given and is_pretrained(config.path):
        raise ConfigError(
            f"planner.{next(iter(config.planner.given))}: {config.path} has the dataset it was "
            "pretrained on, so nothing is planned; leave planner settings out"
        )


def show(config: InspectConfig, result: dict[str, Any]) -> list[Table]:
    """The figures that matter most."""
    title = f"{result['run']} (test episodes: {result['test_episodes']}): {result['report']}"
    return [Table(title, "", ("", "figure"), [list(row) for row in _figures(result)])]


def _figures(result: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(what, figure) of what matters most."""
    for row in result["probes"]:
        best = row["mlp"]
        text = f"{row['linear']['r2']:.3f}, {best['r2']:.3f} ({_ends(best)})"
        yield f"R2 {row['name']} (linear, MLP)", text
    for name in ("model", "copy"):
        mean = result["open_loop"][name]["mean"]
        yield f"error 1, {len(mean)} steps ahead, {name}", f"{mean[0]:.3g}, {mean[-1]:.3g}"
    if isinstance(result["counterfactuals"], list):
        for row in result["counterfactuals"]:
            text = f"{row['accuracy']:.3f} (chance {row['chance']:.3f})"
            yield f"counterfactuals, {row['steps']} steps", text
    for name, row in result["events"].items():
        if "auroc" in row:
            yield f"AUROC {name}", f"{row['auroc']:.3f} ({_ends(row)})"
    shape = result["geometry"]
    yield "effective rank", f"{shape['effective_rank']:.1f} of {shape['dimensions']}"
    for name, row in shape["straightness"].items():
        yield f"straightness, {name}", f"{row['mean']:.3f}"


def _ends(figure: dict[str, Any]) -> str:
    """Of an interval; of a single test episode there is none."""
    low, high = figure["low"], figure["high"]
    return "no interval" if math.isnan(low) else f"{low:.3f} to {high:.3f}"


VERB = Verb(
    "inspect",
    InspectConfig,
    "agents.inspection.inspect:inspect",
    tell="stages",
    missing="which run? give a run directory or checkpoint: latentmpc inspect RUN",
    folder="a run directory or a checkpoint",
    check=check,
    trust=True,
    show=show,
    positional="path",
    metavar="RUN_OR_CHECKPOINT",
    about="Probe latents, roll them out, stage impossible events, and write inspect.html.",
    example="latentmpc inspect runs/rooms --rows 15000",
    common="data out rows horizon clips window starts branches decoder_rows record_episodes seed",
)
