"""`latentmpc pretrain DATA`: learn a reward-free world model from recorded episodes."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Annotated

import tyro

from agents.runs import needs
from agents.runs.config import ConfigError
from agents.runs.pretrain_config import PretrainConfig, preset_config
from scripts.flags import parse


@dataclass(frozen=True)
class PretrainFlags(PretrainConfig):
    """Learn a reward-free world model from recorded episodes and write a run directory.

    The same command resumes a run that was stopped. Priority: defaults, preset, TOML file, flags.
    """

    data: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")] = ""
    """Folder of recorded episodes (`latentmpc collect` makes one)."""
    config: Annotated[str, tyro.conf.arg(metavar="FILE.toml")] = ""
    """Settings from a file with these names as keys (`[model]` and so on as tables)."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the result, and nothing else, as JSON on standard output."""

    def config_of(self) -> PretrainConfig:
        """The settings alone, with the run directory filled in."""
        values = {field.name: getattr(self, field.name) for field in fields(PretrainConfig)}
        config = PretrainConfig(**values)
        return replace(config, run_dir=config.resolved_run_dir)


def parse_pretrain(argv: Sequence[str]) -> PretrainFlags:
    """Settings from the command line. Raises ConfigError."""
    flags = parse(
        "pretrain",
        PretrainFlags,
        PretrainConfig,
        argv,
        positional="data",
        base=lambda given: preset_config(given.get("preset", "state")),
    )
    if not flags.data:
        raise ConfigError(
            "which data? give a folder of episodes: latentmpc pretrain DATA (make one with "
            "`latentmpc collect ENV --out DATA`)"
        )
    if not os.path.isdir(flags.data):
        raise ConfigError(f"{flags.data} is no folder: give what `latentmpc collect` made")
    needs.require(needs.pretraining(flags))
    return flags


def main(argv: Sequence[str]) -> int:
    """Train; 0 when the run is complete."""
    began = time.perf_counter()
    flags = parse_pretrain(argv)

    from scripts.output import print_json, print_table, stderr_console, stdout_to_stderr, summary

    config = flags.config_of()
    with stdout_to_stderr(flags.json):
        from agents.pretraining.pretrain import pretrain

        result = pretrain(config, console=stderr_console(), json_mode=flags.json, began=began)
    if flags.json:
        print_json(result)
    else:
        print_table(summary(f"{config.objective}: {config.run_dir}", result))
    return 0
