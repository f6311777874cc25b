"""`latentmpc inspect RUN`: what the latents of a trained model know, and where they fail."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from agents.deployment.guard.trust_config import ImportTrust
from agents.inspection.config import InspectConfig
from agents.runs.config import ConfigError
from agents.runs.pretrain_config import is_pretrained
from scripts.flags import check_planner, parse, require_directory, settings_of


@dataclass(frozen=True)
class InspectFlags(InspectConfig, ImportTrust):
    """Probe latents, roll them out, stage impossible events, and write inspect.html."""

    path: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN_OR_CHECKPOINT")] = ""
    """Run directory or checkpoint to look into."""
    config: Annotated[str, tyro.conf.arg(metavar="FILE.toml")] = ""
    """Settings from a file with these names as keys (`[planner]` as a table)."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the result, and nothing else, as JSON on standard output."""

    def config_of(self) -> InspectConfig:
        """The settings alone."""
        return settings_of(InspectConfig, self)


def parse_inspect(argv: Sequence[str]) -> InspectFlags:
    """Settings from the command line. Raises ConfigError."""
    flags = parse("inspect", InspectFlags, InspectConfig, argv, positional="path")
    if not flags.path:
        raise ConfigError("which run? give a run directory or checkpoint: latentmpc inspect RUN")
    require_directory(flags.path, "a run directory or a checkpoint")
    check_planner(flags.path, flags.planner)
    if flags.planner.given and is_pretrained(flags.path):
        raise ConfigError(
            f"planner.{next(iter(flags.planner.given))}: {flags.path} has the dataset it was "
            "pretrained on, so nothing is planned; leave planner settings out"
        )
    return flags


def main(argv: Sequence[str]) -> int:
    """Inspect; 0 when the page is written."""
    flags = parse_inspect(argv)

    from scripts.output import print_json, print_table, stderr_console, stdout_to_stderr

    with stdout_to_stderr(flags.json):
        from agents.inspection.inspect import inspect
        from agents.runs.stages import Stages

        with Stages(stderr_console(), quiet=flags.json) as stages:
            result = inspect(flags.config_of(), stages.told)
    if flags.json:
        print_json(result)
    else:
        print_table(_table(result))
    return 0


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
