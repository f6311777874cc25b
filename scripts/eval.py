"""`latentmpc eval RUN_OR_CHECKPOINT`: run a trained model closed-loop and report."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import tyro

from agents.config import ConfigError, EvalConfig
from agents.schema import train_config_from
from scripts.flags import parse
from wm.durable import CheckpointError


@dataclass(frozen=True)
class EvalFlags(EvalConfig):
    """Run a trained run or checkpoint closed-loop on simulators of its own and report."""

    path: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN_OR_CHECKPOINT")] = ""
    """Run directory (its newest checkpoint) or checkpoint directory."""
    config: Annotated[str, tyro.conf.arg(metavar="FILE.toml")] = ""
    """Settings from a file with these names as keys (`[planner]` as a table)."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the result, and nothing else, as JSON on standard output."""

    def config_of(self) -> EvalConfig:
        """The settings alone."""
        return EvalConfig(**{field.name: getattr(self, field.name) for field in fields(EvalConfig)})


def parse_eval(argv: Sequence[str]) -> EvalFlags:
    """Settings from the command line. Raises ConfigError."""
    flags = parse("eval", EvalFlags, EvalConfig, argv, positional="path")
    if not flags.path:
        raise ConfigError("which run? give a run directory or a checkpoint: latentmpc eval runs/ID")
    if not os.path.isdir(flags.path):
        raise ConfigError(f"{flags.path} is no directory: give a run directory or a checkpoint")
    _check_overrides(flags)
    return flags


def _check_overrides(flags: EvalFlags) -> None:
    """Refuse overrides that do not fit the run's planner, before anything heavy is loaded.

    A config.json that cannot be read is left to the evaluation, which verifies the checkpoint.
    """
    stored = Path(flags.path, "config.json")
    try:
        planner = train_config_from(json.loads(stored.read_bytes()), str(stored)).planner
    except (OSError, ValueError, AttributeError, CheckpointError):
        return
    flags.planner.apply(planner)


def main(argv: Sequence[str]) -> int:
    """Evaluate; 0 when the result is complete."""
    flags = parse_eval(argv)

    from scripts.output import print_json, print_table, stdout_to_stderr, summary
    from scripts.tasks import require_task

    with stdout_to_stderr(flags.json):
        if flags.env_id:
            require_task(flags.env_id)
        from agents.evaluate import evaluate_path

        result = evaluate_path(flags.config_of())
    if flags.json:
        print_json(result)
    else:
        print_table(summary(f"{flags.path} ({flags.mode})", result))
    return 0
