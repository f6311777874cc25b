"""Policies that collect data: noise of several kinds, a trained run, a task's own script.

Everything is a function of the seed, the episode's number and the time, so that the same command
gives the same data.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from agents.data.config import CollectConfig
from agents.runs.config import ConfigError
from envs.spec import EnvSpec
from envs.tasks import GoalTask

Act = Callable[[int, Any, np.ndarray], np.ndarray]
"""(decision t, environment, obs [E, O]) -> actions [E, A] in [-1, 1]."""
_ACTIONS, _EPSILON = 1, 2  # streams of an episode, apart from the simulator's own


def make_policy(config: CollectConfig, spec: EnvSpec, episodes: Sequence[int], steps: int) -> Act:
    """The policy of these episodes, simulator i in episode `episodes[i]`."""
    if config.policy in ("random", "noise"):
        drawn = np.stack([open_loop(config, spec, e, steps) for e in episodes])
        return lambda t, env, obs: drawn[:, t]
    scripted = config.policy == "scripted"
    act = (_scripted if scripted else _trained)(config, spec, episodes)
    return _sometimes_random(act, config, spec, episodes, steps) if config.epsilon else act


def open_loop(config: CollectConfig, spec: EnvSpec, episode: int, steps: int) -> np.ndarray:
    """Actions [T, A] float32 of a policy that does not look."""
    rng = np.random.default_rng([config.seed, episode, _ACTIONS])
    shape = (steps, spec.action_dim)
    if config.policy == "random":
        actions = correlated_uniform(rng, shape, config.correlation)
    elif config.noise == "ou":
        period = spec.control_dt * spec.action_repeat
        actions = config.noise_scale * ar1(rng, shape, float(np.exp(-period / config.noise_tau)))
    else:
        actions = config.noise_scale * coloured(rng, shape, config.noise_exponent)
    return np.clip(actions, -1.0, 1.0).astype(np.float32)


def ar1(rng: np.random.Generator, shape: tuple[int, int], correlation: float) -> np.ndarray:
    """Stationary Gaussian sequences [T, A] of unit variance: x[t+1] = c x[t] + sqrt(1-c^2) w.

    Sampled Ornstein-Uhlenbeck noise has c = exp(-dt / tau).
    """
    noise = rng.standard_normal(shape)
    for t in range(1, shape[0]):
        noise[t] = correlation * noise[t - 1] + np.sqrt(1 - correlation**2) * noise[t]
    return noise


def correlated_uniform(
    rng: np.random.Generator, shape: tuple[int, int], correlation: float
) -> np.ndarray:
    """Uniform on [-1, 1] at each time; consecutive ones are correlated (a Gaussian copula)."""
    if not correlation:
        return rng.uniform(-1.0, 1.0, shape)
    from scipy.special import ndtr

    return 2.0 * ndtr(ar1(rng, shape, correlation)) - 1.0


def coloured(rng: np.random.Generator, shape: tuple[int, int], exponent: float) -> np.ndarray:
    """Gaussian sequences [T, A] of unit variance with power ~ frequency^-exponent.

    Timmer & Koenig (1995): independent Gaussian Fourier coefficients, scaled, transformed back.
    The lowest frequency stands in for the mean, so that sequences may drift as a whole.
    """
    steps, width = shape
    frequencies = np.fft.rfftfreq(steps)
    frequencies[0] = 1.0 / steps
    scale = frequencies ** (-exponent / 2)
    real, imaginary = rng.standard_normal((2, len(scale), width))
    imaginary[0] = 0.0
    weight = np.full(len(scale), 4.0)  # of a coefficient and its mirror image
    weight[0] = 1.0
    if steps % 2 == 0:
        imaginary[-1], weight[-1] = 0.0, 1.0
    spectrum = (real + 1j * imaginary) * scale[:, None]
    return np.fft.irfft(spectrum, steps, axis=0) * steps / np.sqrt((weight * scale**2).sum())


def _sometimes_random(
    act: Act, config: CollectConfig, spec: EnvSpec, episodes: Sequence[int], steps: int
) -> Act:
    """`act`, with a share of decisions replaced by uniform ones."""
    rngs = [np.random.default_rng([config.seed, e, _EPSILON]) for e in episodes]
    chosen = np.stack([rng.random(steps) < config.epsilon for rng in rngs])
    random = np.stack([rng.uniform(-1, 1, (steps, spec.action_dim)) for rng in rngs])

    def mixed(t: int, env: Any, obs: np.ndarray) -> np.ndarray:
        return np.where(chosen[:, t, None], random[:, t], act(t, env, obs))

    return mixed


def _trained(config: CollectConfig, spec: EnvSpec, episodes: Sequence[int]) -> Act:
    """A trained run, exploring as it did in training."""
    import jax
    import jax.numpy as jnp

    from agents.acting.agent import make_agent
    from agents.runs.load import check_spec, load

    trained = load(config.checkpoint)
    check_spec(trained, spec)
    planner = config.planner.apply(trained.config.planner)
    agent = make_agent(trained.net, planner, explore=True)
    carry: list[Any] = [None]
    first_key = jax.random.fold_in(jax.random.key(config.seed), episodes[0])

    def act(t: int, env: Any, obs: np.ndarray) -> np.ndarray:
        if t == 0:
            carry[0] = agent.init_carry(len(obs))
        key = jax.random.fold_in(first_key, t)
        first = jnp.full(len(obs), t == 0)
        seen = jnp.asarray(obs, jnp.float32)
        action, carry[0], _ = agent.act(trained.params, carry[0], seen, first, key)
        return np.asarray(action)

    return act


def _scripted(config: CollectConfig, spec: EnvSpec, episodes: Sequence[int]) -> Act:
    """The task's own policy, wandering from one place of its choice to the next."""
    del spec
    rngs = [np.random.default_rng([config.seed, e, _ACTIONS]) for e in episodes]
    memory: list[Any] = [None] * len(rngs)

    def act(t: int, env: Any, obs: np.ndarray) -> np.ndarray:
        script = _script_of(env)
        data, actions = env.simulators.data, []
        for i, rng in enumerate(rngs):
            action, memory[i] = script(rng, data.qpos[i], data.qvel[i], None, memory[i])
            actions.append(action)
        return np.stack(actions)

    return act


def _script_of(env: Any) -> Callable[..., tuple[np.ndarray, Any]]:
    """`scripted(rng, qpos, qvel, goal, memory) -> (action [A], memory)` of the task."""
    task = getattr(getattr(env, "simulators", None), "task", None)
    if not isinstance(task, GoalTask):
        raise ConfigError(
            f"{env.env_spec.env_id} has no scripted policy: use --policy random, noise or "
            "checkpoint"
        )
    return task.scripted
