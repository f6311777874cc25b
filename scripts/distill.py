"""`latentmpc distill RUN`: a critic and a policy for goals, learned offline on its latents."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from agents.goals.config import DistillConfig, memory_needed
from agents.runs import needs
from agents.runs.config import ConfigError
from agents.runs.pretrain_config import is_pretrained
from scripts.flags import parse, require_directory, settings_of


@dataclass(frozen=True)
class DistillFlags(DistillConfig):
    """Learn what leads a pretrained model to goals: a critic of temporal distance, and a policy.

    Both are learned from the run's own data, relabelled in hindsight, and are used by `latentmpc
    eval` from then on.
    """

    path: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PRETRAIN_RUN")] = ""
    """Run directory of `latentmpc pretrain` or one of its checkpoints."""
    config: Annotated[str, tyro.conf.arg(metavar="FILE.toml")] = ""
    """Settings from a file with these names as keys (`[guide]` as a table)."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the result, and nothing else, as JSON on standard output."""

    def config_of(self) -> DistillConfig:
        """The settings alone."""
        return settings_of(DistillConfig, self)


def parse_distill(argv: Sequence[str]) -> DistillFlags:
    """Settings from the command line. Raises ConfigError."""
    flags = parse("distill", DistillFlags, DistillConfig, argv, positional="path")
    if not flags.path:
        raise ConfigError("which run? give one of `latentmpc pretrain`: latentmpc distill runs/ID")
    require_directory(flags.path, "a run of `latentmpc pretrain`")
    if not is_pretrained(flags.path):
        raise ConfigError(
            f"{flags.path} holds no reward-free model: give a run of `latentmpc pretrain`"
        )
    needs.require(memory_needed(flags.guide))
    return flags


def main(argv: Sequence[str]) -> int:
    """Learn and store; 0 when both are stored."""
    flags = parse_distill(argv)

    from scripts.output import print_json, print_table, stderr_console, stdout_to_stderr, summary

    with stdout_to_stderr(flags.json):
        from agents.goals.distill import distill_path

        result = distill_path(flags.config_of(), stderr_console())
    if flags.json:
        print_json(result)
    else:
        print_table(summary(flags.path, result))
    return 0
