"""`latentmpc check TASK`: look a task over before training on it."""

from collections.abc import Iterable
from typing import Any

from agents.robots.config import CheckConfig
from scripts.verb import Verb


def show(config: CheckConfig, result: dict[str, Any]) -> Iterable[Any]:
    """The figures, then each finding with what to do."""
    from scripts.output import summary

    figures = {name: value for name, value in result.items() if name not in ("task", "findings")}
    yield summary(config.env_id, figures)
    for finding in result["findings"]:
        yield ": ".join(filter(None, finding.values()))
    if not result["findings"]:
        yield f"Nothing found. Next: latentmpc train {config.env_id}"


VERB = Verb(
    "check",
    CheckConfig,
    "agents.robots.check:check_task",
    tell="stages",
    missing="which task? latentmpc check my_arm.py:Reach",
    tasks=lambda config: config.env_id,
    show=show,
    positional="env_id",
    metavar="TASK",
    about="""Try a task before training: contacts at the start, rest, random actions, and what a
    plan on the true simulator gains; of a Gymnasium environment its spaces, rates, seeds, saving,
    rewards, ends, drawing, and what Gymnasium's own checker says. Says what would spoil a training,
    and what to do; exit code 4 where training is pointless.""",
    example="latentmpc check my_arm.py:Reach --film check.mp4",
    common="steps film seed",
    code=lambda result: 4 if any(f["level"] == "stop" for f in result["findings"]) else 0,
)
