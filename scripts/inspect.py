"""`latentmpc inspect RUN`: what the latents of a trained model know, and where they fail."""

import math
from typing import Any

from agents.inspection.config import InspectConfig
from agents.runs.config import ConfigError
from agents.runs.pretrain_config import is_pretrained
from scripts.flags import check_planner, require_directory
from scripts.verb import Output, Verb


def check(config: InspectConfig) -> None:
    """Raise ConfigError without a run, and for planner settings where nothing is planned."""
    if not config.path:
        raise ConfigError("which run? give a run directory or checkpoint: latentmpc inspect RUN")
    require_directory(config.path, "a run directory or a checkpoint")
    check_planner(config.path, config.planner)
    if config.planner.given and is_pretrained(config.path):
        raise ConfigError(
            f"planner.{next(iter(config.planner.given))}: {config.path} has the dataset it was "
            "pretrained on, so nothing is planned; leave planner settings out"
        )


def call(config: InspectConfig, output: Output):
    """The figures of the page that is written."""
    from agents.inspection.inspect import inspect

    with output.stages() as stages:
        return inspect(config, stages.told)


def show(config: InspectConfig, result: dict[str, Any]) -> None:
    """The figures that matter most."""
    from scripts.output import print_table

    print_table(_table(result))


def _ends(figure: dict[str, Any]) -> str:
    """Of an interval; of a single test episode there is none."""
    low, high = figure["low"], figure["high"]
    return "no interval" if math.isnan(low) else f"{low:.3f} to {high:.3f}"


def _table(result: dict[str, Any]):
    """The figures that matter most."""
    from rich.table import Table

    title = f"{result['run']} (test episodes: {result['test_episodes']}): {result['report']}"
    table = Table("", "figure", title=title, title_justify="left")
    for row in result["probes"]:
        best = row["mlp"]
        text = f"{best['r2']:.3f} ({_ends(best)})"
        table.add_row(f"R2 {row['name']} (linear, MLP)", f"{row['linear']['r2']:.3f}, {text}")
    for name in ("model", "copy"):
        mean = result["open_loop"][name]["mean"]
        table.add_row(f"error 1, {len(mean)} steps ahead, {name}", f"{mean[0]:.3g}, {mean[-1]:.3g}")
    if isinstance(result["counterfactuals"], list):
        for row in result["counterfactuals"]:
            text = f"{row['accuracy']:.3f} (chance {row['chance']:.3f})"
            table.add_row(f"counterfactuals, {row['steps']} steps", text)
    for name, row in result["events"].items():
        if "auroc" in row:
            text = f"{row['auroc']:.3f} ({_ends(row)})"
            table.add_row(f"AUROC {name}", text)
    shape = result["geometry"]
    table.add_row("effective rank", f"{shape['effective_rank']:.1f} of {shape['dimensions']}")
    for name, row in shape["straightness"].items():
        table.add_row(f"straightness, {name}", f"{row['mean']:.3f}")
    return table


VERB = Verb(
    "inspect",
    InspectConfig,
    call,
    check=check,
    trust=True,
    show=show,
    positional="path",
    metavar="RUN_OR_CHECKPOINT",
    about="Probe latents, roll them out, stage impossible events, and write inspect.html.",
    example="latentmpc inspect runs/rooms --rows 15000",
    common="data out rows horizon clips window starts branches decoder_rows record_episodes seed",
)
main = VERB.main
