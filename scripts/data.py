"""`latentmpc data DATASET`: check a dataset and say what is in it; exchange it with Minari."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from agents.runs.config import ConfigError
from scripts.flags import parse


@dataclass(frozen=True)
class DataConfig:
    """Which dataset, and what to do with it."""

    path: str = ""
    """Directory of the dataset."""
    export_minari: str = ""
    """Write it as a Minari dataset into this new directory."""
    import_minari: str = ""
    """Make it from this local Minari dataset (a directory or an id)."""
    env_id: str = ""
    """Task of an imported dataset that does not name one known here."""


@dataclass(frozen=True)
class DataFlags(DataConfig):
    """Compare every file of a dataset with its SHA-256 and say what is in it."""

    path: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATASET")] = ""
    """Directory of the dataset."""
    config: Annotated[str, tyro.conf.arg(metavar="FILE.toml")] = ""
    """Settings from a file with these names as keys."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the summary, and nothing else, as JSON on standard output."""


def main(argv: Sequence[str]) -> int:
    """Check, export or import; 0 when it is done."""
    flags = parse("data", DataFlags, DataConfig, argv, positional="path")
    if not flags.path:
        raise ConfigError("which dataset? give its directory: latentmpc data DIR")
    if flags.export_minari and flags.import_minari:
        raise ConfigError("give one of --export-minari and --import-minari")

    from scripts.output import print_json, print_table, stderr_console, stdout_to_stderr, summary

    with stdout_to_stderr(flags.json):
        result = _run(flags, stderr_console())
    if flags.json:
        print_json(result)
    else:
        print_table(summary(flags.path, result))
    return 0


def _run(flags: DataFlags, console):
    from agents.data.collect import summarise
    from agents.data.dataset import Dataset
    from agents.runs.stages import Stages

    with Stages(console, quiet=flags.json) as stages:
        if flags.import_minari:
            from agents.data.minari import load

            return load(flags.import_minari, Path(flags.path), flags.env_id, stages.told)
        dataset = Dataset.open(flags.path, full=True)
        if not flags.export_minari:
            return summarise(dataset)
        from agents.data.minari import export

        return export(dataset, Path(flags.export_minari), stages.told)
