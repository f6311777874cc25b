"""`latentmpc data DATASET`: check a dataset and say what is in it; exchange it with Minari."""

from dataclasses import dataclass
from pathlib import Path

from agents.runs.config import ConfigError
from scripts.verb import Output, Verb


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


def check(config: DataConfig) -> None:
    """Raise ConfigError for two directions at once."""
    if config.export_minari and config.import_minari:
        raise ConfigError("give one of --export-minari and --import-minari")


def call(config: DataConfig, output: Output):
    """A summary of the dataset."""
    from agents.data.collect import summarise
    from agents.data.dataset import Dataset

    with output.stages() as stages:
        if config.import_minari:
            from agents.data.minari import load

            return load(config.import_minari, Path(config.path), config.env_id, stages.told)
        dataset = Dataset.open(config.path, full=True)
        if not config.export_minari:
            return summarise(dataset)
        from agents.data.minari import export

        return export(dataset, Path(config.export_minari), stages.told)


VERB = Verb(
    "data",
    DataConfig,
    call,
    missing="which dataset? give its directory: latentmpc data DIR",
    check=check,
    positional="path",
    metavar="DATASET",
    title="{0.path}",
    about="Compare every file of a dataset with its SHA-256 and say what is in it.",
    example="latentmpc data data/rooms",
    common="export_minari import_minari env_id",
    computes=False,
)
