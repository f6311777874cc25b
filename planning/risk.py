"""A terminal value that distrusts an ensemble where its heads disagree."""

import math

import jax.numpy as jnp

from planning.config import PlannerConfig
from planning.types import Array, Model, Params


def averse(config: PlannerConfig, model: Model) -> Model:
    """`model` with the terminal value that `config.risk` asks for.

    std: mean of the heads - risk_coef x their standard deviation. cvar: mean of the worst
    share risk_coef of the heads, at least one. All heads are evaluated, where a plain value
    may look at a few. Raises ValueError if the model has no value per head.
    """
    if config.risk == "none":
        return model
    heads_of = model.values
    if heads_of is None:
        raise ValueError(f"planner.risk={config.risk} needs a model with a value ensemble (values)")

    def value(params: Params, latent, key: Array) -> Array:
        heads = heads_of(params, latent, key)
        if config.risk == "std":
            return heads.mean() - config.risk_coef * heads.std()
        worst = math.ceil(config.risk_coef * heads.shape[0] - 1e-9)
        return jnp.sort(heads)[: max(worst, 1)].mean()

    return model._replace(value=value)
