"""What a cycle costs: operations and bytes counted from the networks, times predicted from them.

Operations are those of matrix products, two a multiply-add, read off the programs themselves. A
machine is a few numbers, so that the same counts predict this one and others.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from agents.acting.agent import Carry, act_once, planner_model
from agents.runs import needs
from planning import registry as planners
from planning.config import PlannerConfig, evaluations
from wm.tdmpc import learner
from wm.tdmpc import model as tdmpc
from wm.tdmpc.losses import Batch
from wm.tdmpc.model import Networks

PLAN_KERNELS, UPDATE_KERNELS = 40, 400  # programs' steps that an accelerator launches one by one


@dataclass(frozen=True)
class Machine:
    """Rates of one device."""

    flops: float
    """Operations a second of large matrix products."""
    bandwidth: float
    """Bytes a second of its memory."""
    launch: float = 0.0
    """Seconds that one step of a program takes at least."""


@dataclass(frozen=True)
class Cost:
    """Of one piece of work."""

    flop: float
    bytes: float
    """Parameters read and written, activations once out and once in."""
    kernels: float = 0.0

    def seconds(self, machine: Machine) -> float:
        """The slowest of products, memory and launches."""
        work = max(self.flop / machine.flops, self.bytes / machine.bandwidth)
        return max(work, self.kernels * machine.launch)


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


def weights(net: Networks) -> int:
    """Parameters."""
    spec = net.spec
    return needs.parameters(net.config, spec.obs_dim, spec.action_dim, spec.tasks)


def plan(net: Networks, config: PlannerConfig, sims: int) -> Cost:
    """One decision of `sims` simulators."""
    one = partial(act_once, net.encode, planner_model(net), config, True)
    params = jax.eval_shape(lambda: tdmpc.init(net, jax.random.key(0)))
    carry = Carry(planners.init(config, net.spec.action_dim))
    obs, key = jax.ShapeDtypeStruct((net.spec.obs_dim,), "float32"), jax.random.key(0)
    flop = products(one, params, carry, obs, jax.ShapeDtypeStruct((), bool), key)
    passes = 1 + config.horizon * (2 + config.num_iterations)
    rows = evaluations(config)  # model steps of one simulator
    moved = needs.FLOAT * (passes * weights(net) + 2 * sims * rows * needs.row(net.config))
    return Cost(sims * flop, moved, PLAN_KERNELS * passes)


def update(net: Networks, batch: int = 0) -> Cost:
    """One update on `batch` slices (0: as many as are set)."""
    cfg, spec = net.learner, net.spec
    batch, steps = batch or cfg.batch_size, (cfg.batch_size, cfg.horizon)
    sizes = ((*steps, spec.action_dim), steps, steps, steps)
    obs = jnp.zeros((steps[0], steps[1] + 1, spec.obs_dim))
    shapes = Batch(obs, *[jnp.zeros(size) for size in sizes])
    key = jax.random.key(0)
    state = jax.eval_shape(lambda: learner.init(net, key))
    flop = products(partial(learner.update, net), state, shapes, key) * batch / cfg.batch_size
    optimiser = 10 * weights(net)  # parameters, gradients, two moments, average: in and out
    activations = 6 * batch * (cfg.horizon + 1) * needs.row(net.config)
    return Cost(flop, needs.FLOAT * (optimiser + activations), UPDATE_KERNELS)
