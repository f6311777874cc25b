"""Cost of a cycle: operations of matrix products, two a multiply-add, read off the programs."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from agents.acting.agent import Carry, act_once, planner_model
from planning import registry as planners
from planning.config import PlannerConfig
from wm.tdmpc import learner
from wm.tdmpc import model as tdmpc
from wm.tdmpc.losses import Batch
from wm.tdmpc.model import Networks


def products(function: Callable[..., Any], *args: Any) -> float:
    """Operations of all matrix products and convolutions, loops counted as often as they run.

    Arguments may be shapes. A loop without a fixed length counts once.
    """
    return _count(jax.make_jaxpr(function)(*args).jaxpr)


def _count(jaxpr: Any) -> float:
    total = 0.0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left, out = equation.invars[0].aval.shape, equation.outvars[0].aval.shape
            total += 2.0 * math.prod(out) * math.prod(left[i] for i in contracted)
            continue
        if equation.primitive.name == "conv_general_dilated":
            kernel, out = equation.invars[1].aval.shape, equation.outvars[0].aval.shape
            features = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
            total += 2.0 * math.prod(out) * math.prod(kernel) / features
            continue
        inner = [_count(sub) for sub in _inside(equation.params)]
        several = max(inner, default=0.0) if equation.primitive.name == "cond" else sum(inner)
        total += several * (equation.params["length"] if equation.primitive.name == "scan" else 1)
    return total


def _inside(params: dict[str, Any]) -> Iterator[Any]:
    """The programs inside an equation: bodies of loops, branches, functions called."""
    for value in params.values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            if hasattr(item, "jaxpr"):  # closed
                yield item.jaxpr
            elif hasattr(item, "eqns"):
                yield item


def plan(net: Networks, config: PlannerConfig) -> float:
    """Operations of one decision of one simulator."""
    one = partial(act_once, net.encode, planner_model(net), config, True)
    params = jax.eval_shape(lambda: tdmpc.init(net, jax.random.key(0)))
    carry = Carry(planners.init(config, net.spec.action_dim))
    obs, key = jax.ShapeDtypeStruct((net.spec.obs_dim,), "float32"), jax.random.key(0)
    return products(one, params, carry, obs, jax.ShapeDtypeStruct((), bool), key)


def update(net: Networks) -> float:
    """Operations of one update."""
    cfg, spec = net.learner, net.spec
    steps = (cfg.batch_size, cfg.horizon)
    sizes = ((*steps, spec.action_dim), steps, steps, steps)
    obs = jnp.zeros((steps[0], steps[1] + 1, spec.obs_dim))
    shapes = Batch(obs, *[jnp.zeros(size) for size in sizes])
    key = jax.random.key(0)
    state = jax.eval_shape(lambda: learner.init(net, key))
    return products(partial(learner.update, net), state, shapes, key)
