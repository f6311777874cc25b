"""`latentmpc tasks`: the tasks that can be trained on."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import tyro

from envs.spec import EnvSpec
from scripts.flags import parse


@dataclass(frozen=True)
class TasksConfig:
    """What to list."""

    match: str = ""
    """Only those whose id or note contains this: `goal`, `walker`."""


@dataclass(frozen=True)
class TasksFlags(TasksConfig):
    """List the tasks that can be trained on. Every continuous Gymnasium id works as well."""

    match: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TEXT")] = ""
    """Only those whose id or note contains this: `goal`, `walker`."""
    config: Annotated[str, tyro.conf.arg(metavar="FILE.toml")] = ""
    """Settings from a file with these names as keys."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the list, and nothing else, as JSON on standard output."""


def require_task(env_id: str) -> EnvSpec:
    """The spec of a task. Raises UnknownTaskError, with the nearest name, unless it exists."""
    from envs import registry

    return registry.make_spec(env_id)


def main(argv: Sequence[str]) -> int:
    """List; always 0."""
    flags = parse("tasks", TasksFlags, TasksConfig, argv, positional="match")

    from scripts.output import print_json, print_table, stdout_to_stderr

    with stdout_to_stderr(flags.json):
        from envs.registry import list_tasks

        wanted = flags.match.lower()
        tasks = [t for t in list_tasks() if wanted in f"{t.env_id} {t.note}".lower()]
    if flags.json:
        print_json([asdict(task) for task in tasks])
    else:
        print_table(_table(tasks))
    return 0


def _table(tasks):
    from rich.table import Table

    table = Table("task", "simulator", "obs", "action", "note")
    for task in tasks:
        sizes = ("" if n is None else str(n) for n in (task.obs_dim, task.action_dim))
        table.add_row(task.env_id, task.backend, *sizes, task.note)
    return table
