"""`latentmpc check TASK`: look a task over before training on it."""

from typing import Any

from agents.robots.config import CheckConfig
from agents.runs.config import ConfigError
from scripts.verb import Output, Verb


def check(config: CheckConfig) -> None:
    """Raise ConfigError without a task."""
    if not config.env_id:
        raise ConfigError("which task? latentmpc check my_arm.py:Reach")


def call(config: CheckConfig, output: Output):
    """What was found."""
    from agents.robots.check import check_task

    with output.stages() as stages:
        return check_task(config, stages.told)


def show(config: CheckConfig, result: dict[str, Any]) -> None:
    """The figures, then each finding with what to do."""
    from rich.console import Console

    from scripts.output import print_table, summary

    print_table(summary(config.env_id, {k: v for k, v in result.items() if k != "findings"}))
    console = Console(highlight=False, soft_wrap=True)
    for finding in result["findings"]:
        console.print(f"{finding['level']}: {finding['what']}: {finding['do']}", markup=False)
    if not result["findings"]:
        console.print(f"Nothing found. Next: latentmpc train {config.env_id}", markup=False)


VERB = Verb(
    "check",
    CheckConfig,
    call,
    check=check,
    show=show,
    positional="env_id",
    metavar="TASK",
    about="""Try a task before training: contacts at the start, rest, random actions, a plan on the
    true simulator. Says what would spoil a training, and what to do..""",
    example="latentmpc check my_arm.py:Reach --film check.mp4",
    common="steps film seed",
    code=lambda result: 4 if any(f["level"] == "stop" for f in result["findings"]) else 0,
)
main = VERB.main
