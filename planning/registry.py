"""Planners by name. To add one: a page with `init` and `improve`, a name here and in the config."""

from collections.abc import Callable
from typing import NamedTuple

from planning.config import PlannerConfig
from planning.config import evaluations as evaluations
from planning.methods import cem, gradient, icem, mppi, predictive_sampling
from planning.search import Search
from planning.types import Array, Model, Params, Plan, PlanInfo


class Planner(NamedTuple):
    """What every planner is.

    init(config, action_dim) -> Plan
    improve(config, model, params, latent, plan, key) -> (Plan, PlanInfo), for one simulator
    """

    init: Callable[[PlannerConfig, int], Plan]
    improve: Callable[..., tuple[Plan, PlanInfo]]
    searching: Callable[..., Search] | None = None
    """The same one iteration at a time, where the planner is a search (see `anytime`)."""


PLANNERS = {
    "mppi": Planner(mppi.init, mppi.improve, mppi.searching),
    "cem": Planner(cem.init, cem.improve, cem.searching),
    "icem": Planner(icem.init, icem.improve, icem.searching),
    "predictive_sampling": Planner(
        predictive_sampling.init, predictive_sampling.improve, predictive_sampling.searching
    ),
    "gradient": Planner(gradient.init, gradient.improve),
}


def init(config: PlannerConfig, action_dim: int) -> Plan:
    """The plan that `config.method` begins with."""
    return PLANNERS[config.method].init(config, action_dim)


def improve(
    config: PlannerConfig, model: Model, params: Params, latent, plan: Plan, key: Array
) -> tuple[Plan, PlanInfo]:
    """Refine `plan` for `latent` (one simulator) by `config.method`."""
    return PLANNERS[config.method].improve(config, model, params, latent, plan, key)
