"""From settings to simulators, memory, and how often to decide and to learn."""

from fractions import Fraction
from typing import Any

import jax

from agents.runs import needs
from agents.runs.config import ConfigError, TrainConfig
from agents.training.randomize import draw, ranges_of
from envs.registry import DMC_REPEAT, make_vec, resolve
from envs.spec import EnvSpec
from envs.wrappers.multi import num_tasks


def make_simulators(config: TrainConfig) -> Any:
    """The vector environment that trains, on the back-end asked for.

    `auto` is native: MJX pays with hundreds of simulators on an accelerator, where it is asked
    for by name. Raises ConfigError, UnknownTaskError or EnvError.
    """
    if config.backend in ("auto", "native"):
        ranges = ranges_of(config.randomize, config.env_id)
        shifts = draw(ranges, config.num_envs, config.seed)
        repeat = config.action_repeat
        return make_vec(config.env_id, config.num_envs, action_repeat=repeat, shift=shifts)
    if config.randomize:
        raise ConfigError(
            f"--randomize changes native simulators alone: leave out --backend {config.backend}"
        )
    kind, name = resolve(config.env_id)
    if kind == "multi":
        raise ConfigError(
            f"--backend {config.backend} runs one task, not several: use --backend native"
        )
    if kind != "native":
        raise ConfigError(
            f"--backend {config.backend} runs tasks of ours alone, and {config.env_id} comes from "
            f"{'dm_control' if kind == 'dmc' else 'Gymnasium'}: use --backend native"
        )
    from envs.mjx.env import make_mjx  # loads MJX

    impl = "warp" if config.backend == "mjx-warp" else "jax"
    return make_mjx(name, config.num_envs, config.action_repeat or DMC_REPEAT, impl)


def seed_steps(config: TrainConfig, spec: EnvSpec) -> int:
    """Random decisions before learning (TD-MPC2: five episodes, at least 1000)."""
    least = config.num_envs * (config.learner.horizon + 2)
    return max(config.seed_steps or max(1000, 5 * spec.episode_steps), least)


def updates_per_call(config: TrainConfig) -> int:
    """Updates in one jitted call: those that one decision of every simulator earns."""
    return max(1, round(config.num_envs * config.utd))


def updates_due(env_steps: Any, utd: float) -> Any:
    """floor(env_steps x utd) in integers, on the host and in a program to the same number."""
    if not utd:
        return 0 * env_steps
    rate = Fraction(utd).limit_denominator(int((2**30 / utd) ** 0.5))  # products fit into int32
    whole, rest = env_steps // rate.denominator, env_steps % rate.denominator
    return whole * rate.numerator + rest * rate.numerator // rate.denominator


def check_memory(config: TrainConfig, spec: EnvSpec, members: int = 1, shares: int = 1) -> None:
    """Raise ConfigError when a training could not be held in memory: of host and of devices."""
    sizes = spec.obs_dim, spec.action_dim, num_tasks(spec)
    parts = needs.training(config, *sizes, backend=spec.backend, members=members, shares=shares)
    needs.require(parts)
    there = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    if there:
        parts.pop("the simulators")
        needs.require(parts, there * config.devices)
