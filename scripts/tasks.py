"""`latentmpc tasks`: the tasks that can be trained on."""

from dataclasses import asdict, dataclass
from typing import Any

from envs.spec import EnvSpec
from scripts.verb import Output, Verb


@dataclass(frozen=True)
class TasksConfig:
    """What to list."""

    match: str = ""
    """Only those whose id or note contains this: `goal`, `walker`."""


def require_task(env_id: str) -> EnvSpec:
    """The spec of a task. Raises UnknownTaskError, with the nearest name, unless it exists."""
    from envs import registry

    return registry.make_spec(env_id)


def call(config: TasksConfig, output: Output):
    """The tasks that match."""
    from envs.registry import list_tasks

    wanted = config.match.lower()
    return [asdict(t) for t in list_tasks() if wanted in f"{t.env_id} {t.note}".lower()]


def show(config: TasksConfig, tasks: list[dict[str, Any]]) -> None:
    """A row a task."""
    from rich.table import Table

    from scripts.output import print_table

    table = Table("task", "simulator", "obs", "action", "note")
    for task in tasks:
        sizes = ("" if n is None else str(n) for n in (task["obs_dim"], task["action_dim"]))
        table.add_row(task["env_id"], task["backend"], *sizes, task["note"])
    print_table(table)


VERB = Verb(
    "tasks",
    TasksConfig,
    call,
    show=show,
    positional="match",
    metavar="[TEXT]",
    about="List the tasks that can be trained on. Every continuous Gymnasium id works as well.",
    example="latentmpc tasks goal",
    common="",
)
main = VERB.main
