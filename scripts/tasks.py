"""`latentmpc tasks`: the tasks that can be trained on."""

from dataclasses import asdict, dataclass
from typing import Any

from agents.reports.tables import Table
from scripts.verb import Output, Verb


@dataclass(frozen=True)
class TasksConfig:
    """A filter of the list."""

    match: str = ""
    """Only those whose id or note contains this: `goal`, `walker`."""


def call(config: TasksConfig, output: Output):
    """The tasks that match."""
    from envs.registry import list_tasks

    wanted = config.match.lower()
    return [asdict(t) for t in list_tasks() if wanted in f"{t.env_id} {t.note}".lower()]


def show(config: TasksConfig, tasks: list[dict[str, Any]]) -> list[Table]:
    """A row a task."""
    keys = {"task": "env_id", "simulator": "backend", "obs": "obs_dim", "action": "action_dim"}
    rows = [["" if t[k] is None else str(t[k]) for k in (*keys.values(), "note")] for t in tasks]
    return [Table("", "", (*keys, "note"), rows)]


VERB = Verb(
    "tasks",
    TasksConfig,
    call,
    show=show,
    positional="match",
    metavar="[TEXT]",
    about="List the tasks that can be trained on. Every continuous Gymnasium id works as well.",
    example="latentmpc tasks goal",
    computes=False,
)
