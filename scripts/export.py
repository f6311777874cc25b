"""`latentmpc export RUN --out BUNDLE`: a trained model as a folder that runs without latentmpc."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import tyro

from agents.deployment.bundle.config import ExportConfig
from agents.deployment.guard.trust_config import ImportTrust
from agents.runs.config import ConfigError
from scripts.flags import check_planner, parse, require_directory, settings_of


@dataclass(frozen=True)
class ExportFlags(ExportConfig, ImportTrust):
    """Write a run or checkpoint as a bundle: programs, parameters, contract, runner, manifest.

    Planner settings given here are built into the bundle. The digest it prints is what lets
    others run the bundle's programs (--digest): hand it over by another way than the bundle.
    """

    path: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN_OR_CHECKPOINT")] = ""
    """Run directory (its newest checkpoint) or checkpoint directory."""
    config: Annotated[str, tyro.conf.arg(metavar="FILE.toml")] = ""
    """Settings from a file with these names as keys (`[planner]` as a table)."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the result, and nothing else, as JSON on standard output."""

    def config_of(self) -> ExportConfig:
        """The settings alone."""
        return settings_of(ExportConfig, self)


def parse_export(argv: Sequence[str]) -> ExportFlags:
    """Settings from the command line. Raises ConfigError."""
    flags = parse("export", ExportFlags, ExportConfig, argv, positional="path")
    if not flags.path:
        raise ConfigError(
            "which run? give a run directory or a checkpoint: latentmpc export runs/ID --out NEW"
        )
    require_directory(flags.path, "a run directory or a checkpoint")
    check_planner(flags.path, flags.planner)
    if not flags.out:
        raise ConfigError(f"where to? give a new folder: latentmpc export {flags.path} --out NEW")
    return flags


def main(argv: Sequence[str]) -> int:
    """Export; 0 when the bundle is written."""
    flags = parse_export(argv)

    from scripts.output import print_json, stdout_to_stderr

    with stdout_to_stderr(flags.json):
        from agents.deployment.bundle.export import export_path

        exported = export_path(flags.config_of())
    if flags.json:
        print_json(asdict(exported))
    else:
        for name, size in exported.files.items():
            print(f"{size:12,}  {name}")
        print(f"programs for {' and '.join(exported.platforms)}, until {exported.expires}")
        print(f"digest {exported.digest}")
    return 0
