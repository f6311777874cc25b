"""Checks of a stored run that several verbs make before anything heavy is loaded."""

from typing import TYPE_CHECKING

from agents.deployment.bundle.files import known_digest
from agents.runs import needs
from agents.runs.config import PlannerOverrides
from agents.runs.settings import peek

if TYPE_CHECKING:
    from agents.deployment.realtime.config import RunConfig
    from agents.deployment.serving.config import ServeConfig


def check_controller(config: "RunConfig | ServeConfig", clients: int = 1) -> None:
    """Raise CheckpointError unless the digest may be one, ConfigError as `check_planner`.

    What is in them is verified when it is loaded; this much can be said at once.
    """
    if config.digest:
        known_digest(config.digest)
    check_planner(config.path, config.planner, clients, "--clients")


def check_planner(
    path: str, planner: PlannerOverrides, sims: int = 1, lower: str = "--episodes"
) -> None:
    """Refuse planner settings that do not fit a stored run or this machine, before jax is loaded.

    `sims` simulators are planned for at once, as many as the flag `lower` says.
    """
    if stored := peek(path):
        needs.require(needs.evaluation(stored, planner.apply(stored.planner), sims, lower))
