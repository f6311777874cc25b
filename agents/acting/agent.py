"""The agent: encode, plan, act. Written for one simulator, vmapped over many, jitted once."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from agents.runs.compile import cpu_options
from planning import registry as planners
from planning.config import PlannerConfig
from planning.types import Model, Plan, PlanInfo, shift
from wm.tdmpc.model import Networks, as_latent_model

Array = jax.Array
Mode = Literal["plan", "prior"]


class Carry(NamedTuple):
    """State of the agent between decisions, one simulator."""

    plan: Plan


class Agent(NamedTuple):
    """Functions over E simulators (static).

    init_carry(E) -> Carry with leading axis E
    act(params, carry, obs [E, O], is_first [E], key) -> (action [E, A], Carry, PlanInfo [E])
    observe(env, obs) -> what `act` takes for obs: the observation, but for the oracle
    """

    init_carry: Callable[[int], Carry]
    act: Callable[[Any, Carry, Any, Array, Array], tuple[Array, Carry, PlanInfo]]
    observe: Callable[[Any, Any], Any] = lambda env, obs: jnp.asarray(obs, jnp.float32)


def planner_model(net: Networks) -> Model:
    """The part of the world model that planners see."""
    model = as_latent_model(net)
    return Model(step=model.step, value=model.value, prior=model.prior, values=model.values)


def act_once(
    encode: Callable[[Any, Any], Any],
    model: Model,
    config: PlannerConfig,
    explore: bool,
    params: Any,
    carry: Carry,
    obs: Array,
    is_first: Array,
    key: Array,
) -> tuple[Array, Carry, PlanInfo]:
    """One decision of one simulator. `is_first` is data: it restarts the plan inside jit.

    An exploring agent executes a drawn elite plus noise of the plan's spread; otherwise the
    plan's mean is executed and the decision is a function of the key alone.
    """
    key_plan, key_noise = jax.random.split(key)
    fresh = planners.init(config, carry.plan.mean.shape[-1])
    moved = shift(carry.plan, 1, config.init_std)
    plan = jax.tree.map(lambda new, old: jnp.where(is_first, new, old), fresh, moved)
    plan, info = planners.improve(config, model, params, encode(params, obs), plan, key_plan)
    action = plan.mean[0]
    if explore:
        noise = jax.random.normal(key_noise, action.shape, action.dtype)
        action = plan.sample[0] + plan.std[0] * noise
    return jnp.clip(action, -1.0, 1.0), Carry(plan), info


def _prior_once(net: Networks, explore: bool, params, carry: Carry, obs, is_first, key):
    action = as_latent_model(net).prior(params, net.encode(params, obs), key if explore else None)
    return action, carry, _no_info(())


def _no_info(shape: tuple[int, ...]) -> PlanInfo:
    return PlanInfo(*[jnp.zeros(shape)] * len(PlanInfo._fields))


CPU_BATCH = 16
"""Simulators that a CPU plans for at once: what their sequences compute stays in its caches."""


def make_agent(
    net: Networks,
    config: PlannerConfig,
    *,
    mode: Mode = "plan",
    explore: bool = False,
) -> Agent:
    """An agent in mode `plan` (search) or `prior` (reactive policy), jitted."""
    return jitted(pure_agent(net, config, mode=mode, explore=explore))


def pure_agent(
    net: Networks,
    config: PlannerConfig,
    *,
    mode: Mode = "plan",
    explore: bool = False,
    sharded: bool = False,
) -> Agent:
    """The same for use inside a program.

    Where the simulators are to be `sharded` over devices, all of a device's are computed at once.
    """
    if mode == "prior":
        one = partial(_prior_once, net, explore)
    else:
        one = partial(act_once, net.encode, planner_model(net), config, explore)
    return vectorised(one, config, net.spec.action_dim, None if sharded else CPU_BATCH)


def vectorised(
    one: Callable[..., tuple], config: PlannerConfig, action_dim: int, most: int | None
) -> Agent:
    """An agent over many simulators, `most` of them at once, from what it does in one.

    Simulator i draws its noise from fold_in(key, i): its actions do not depend on how many
    other simulators there are.
    """

    def act(params, carry, obs, is_first, key):
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(is_first.shape[0]))
        return over_rows(partial(one, params), (carry, obs, is_first, keys), most)

    def init_carry(num_envs: int) -> Carry:
        carry = Carry(planners.init(config, action_dim))
        return jax.tree.map(lambda x: jnp.repeat(x[None], num_envs, axis=0), carry)

    return Agent(init_carry, act)


def jitted(agent: Agent, **options: Any) -> Agent:
    """`agent` whose `act` is a program of its own; `options` are further ones of jax.jit."""
    return agent._replace(act=jax.jit(agent.act, compiler_options=cpu_options(), **options))


def over_rows(one: Callable[..., Any], rows: tuple, most: int | None) -> Any:
    """`one(*row)` for every row of `rows` [E, ...]; on a CPU `most` of them at a time."""
    count = jax.tree.leaves(rows)[0].shape[0]
    if most is None or count <= most or jax.default_backend() != "cpu":
        return jax.vmap(one)(*rows)
    return jax.lax.map(lambda row: one(*row), rows, batch_size=most)


def baseline_agent(action_dim: int, mode: Literal["random", "zero"]) -> Agent:
    """Uniform random actions, or zero: the baselines every controller is measured against."""

    def act(params, carry, obs, is_first, key):
        action = jnp.zeros((obs.shape[0], action_dim))
        if mode == "random":
            action = jax.random.uniform(key, action.shape, minval=-1.0, maxval=1.0)
        return action, carry, _no_info(obs.shape[:1])

    nothing = Plan(*[jnp.zeros((1, action_dim))] * len(Plan._fields))
    return Agent(lambda num_envs: Carry(nothing), jax.jit(act))


def agent_for(net: Networks, config: PlannerConfig, mode: str) -> Agent:
    """The deterministic agent of a mode: plan, prior, random or zero."""
    if mode == "random" or mode == "zero":
        return baseline_agent(net.spec.action_dim, mode)
    if mode == "plan" or mode == "prior":
        return make_agent(net, config, mode=mode)
    raise ValueError(f"mode must be plan, prior, random or zero, got {mode!r}")
