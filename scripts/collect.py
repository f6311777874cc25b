"""`latentmpc collect ENV`: record episodes of a task into a dataset."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from agents.data.config import CollectConfig, memory_needed
from agents.runs import needs
from agents.runs.bounds import TaskId
from agents.runs.config import ConfigError
from scripts.flags import check_planner, parse, settings_of


@dataclass(frozen=True)
class CollectFlags(CollectConfig):
    """Record episodes of a task: states, pictures, actions, rewards. The same command resumes."""

    env_id: Annotated[TaskId, tyro.conf.Positional, tyro.conf.arg(metavar="ENV")] = ""
    """Task to record (`latentmpc tasks` lists them)."""
    config: Annotated[str, tyro.conf.arg(metavar="FILE.toml")] = ""
    """Settings from a file with these names as keys (`[planner]` as a table)."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the summary, and nothing else, as JSON on standard output."""

    def config_of(self) -> CollectConfig:
        """The settings alone."""
        return settings_of(CollectConfig, self)


def parse_collect(argv: Sequence[str]) -> CollectFlags:
    """Settings from the command line. Raises ConfigError."""
    flags = parse("collect", CollectFlags, CollectConfig, argv, positional="env_id")
    if not flags.env_id:
        raise ConfigError("which task? latentmpc collect ENV --episodes 100 --out DIR")
    if flags.checkpoint:
        check_planner(flags.checkpoint, flags.planner, min(flags.shard, flags.episodes), "--shard")
    needs.require(memory_needed(flags))
    return flags


def main(argv: Sequence[str]) -> int:
    """Collect; 0 when the dataset is complete."""
    flags = parse_collect(argv)

    from scripts.output import print_json, print_table, stderr_console, stdout_to_stderr, summary
    from scripts.tasks import require_task

    with stdout_to_stderr(flags.json):
        require_task(flags.env_id)
        from agents.data.collect import collect
        from agents.runs.stages import Stages

        with Stages(stderr_console(), quiet=flags.json) as stages:
            result = collect(flags.config_of(), stages.told)
    if flags.json:
        print_json(result)
    else:
        print_table(summary(f"{flags.env_id}: {result['dataset']}", result))
    return 0
