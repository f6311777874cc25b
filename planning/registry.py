"""Planners by name. To add one: a page with its `Method`, a name here and in the config."""

from collections.abc import Callable
from functools import partial

from planning import search
from planning.config import PlannerConfig
from planning.config import evaluations as evaluations
from planning.methods import cem, gradient, icem, mppi, predictive_sampling
from planning.search import init as init
from planning.types import Array, Model, Params, Plan, PlanInfo

PLANNERS: dict[str, Callable[..., search.Search]] = {
    "mppi": partial(search.make_search, mppi.METHOD),
    "cem": partial(search.make_search, cem.METHOD),
    "icem": partial(search.make_search, icem.METHOD),
    "predictive_sampling": partial(search.make_search, predictive_sampling.METHOD),
    "gradient": gradient.make_search,
}
"""(config, model, params, latent, plan, key, prior sequences where known) -> Search"""


def improve(
    config: PlannerConfig, model: Model, params: Params, latent, plan: Plan, key: Array
) -> tuple[Plan, PlanInfo]:
    """Refine `plan` for `latent` (one simulator). The result's first action is meant for now."""
    found = PLANNERS[config.method](config, model, params, latent, plan, key)
    return found.conclude(search.run(config, found, search.begin(config, plan)))
