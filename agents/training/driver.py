"""The host loop over native simulators: the only border between numpy and jax.

One cycle acts, steps every simulator once and appends the rows to the replay. The driver holds
what the next cycle needs and can be saved and restored exactly.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agents.training import replay as replay_lib
from envs.spec import EnvError


class Episode(NamedTuple):
    """A finished training episode."""

    ret: float
    length: int
    invalid: bool


class Cycle(NamedTuple):
    """The result of one cycle of all simulators."""

    rows: np.ndarray
    """[E, F] packed replay rows."""
    decisions: int
    """Real decisions among them (a simulator that was being reset took none)."""
    episodes: list[Episode]


class Driver:
    """Steps a vector environment with given actions and keeps account of its episodes."""

    def __init__(self, env, seed: int):
        """Reset every simulator; simulator i has its own stream derived from seed."""
        self.env = env
        self.seed = seed
        self.obs, _ = env.reset(seed=seed)
        self.is_first = np.ones(env.num_envs, bool)
        self.returns = np.zeros(env.num_envs)
        self.lengths = np.zeros(env.num_envs, np.int64)

    def random_actions(self, cycle: int) -> np.ndarray:
        """Uniform actions [E, A]: a function of seed and cycle alone."""
        rng = np.random.default_rng([self.seed, cycle])
        shape = (self.env.num_envs, self.env.single_action_space.shape[0])
        return rng.uniform(-1.0, 1.0, shape).astype(np.float32)

    def step(self, actions: np.ndarray) -> Cycle:
        """Step every simulator once with actions [E, A] in [-1, 1]."""
        before = self.obs
        obs, reward, terminated, truncated, info = self.env.step(actions)
        self._check(obs, reward)
        was_reset, invalid = info["is_reset"], info["invalid"]
        rows = replay_lib.pack(before, actions, reward, terminated, was_reset | invalid)
        self.obs, self.is_first = obs, was_reset
        done = (terminated | truncated) & ~was_reset
        return self.account(rows, reward, done, was_reset, invalid)

    def account(self, rows, reward, done, was_reset, invalid) -> Cycle:
        """The cycle that these arrays [E, ...] are of; `done` marks the ends of episodes."""
        self.returns += reward
        self.lengths += ~was_reset
        episodes = [
            Episode(float(self.returns[i]), int(self.lengths[i]), bool(invalid[i]))
            for i in np.flatnonzero(done)
        ]
        self.returns[done], self.lengths[done] = 0.0, 0
        return Cycle(rows, int((~was_reset).sum()), episodes)

    def _check(self, obs: np.ndarray, reward: np.ndarray) -> None:
        """Refuse what would poison the replay. Raises EnvError naming the value."""
        with np.errstate(over="ignore"):
            stored = np.concatenate([obs, reward[:, None]], 1).astype(np.float32)
        if np.isfinite(stored).all():
            return
        i, k = np.argwhere(~np.isfinite(stored))[0]
        what, value = ("reward", reward[i]) if k == obs.shape[1] else (f"obs[{k}]", obs[i, k])
        raise EnvError(
            f"simulator {i} of {self.env.env_spec.env_id}: {what} is {value:g}, which float32 does "
            "not hold as a number; nothing of this step was stored"
        )

    def get_state(self) -> dict[str, Any]:
        """Everything needed to continue bit-identically, as arrays."""
        env = self.env.get_state()
        own = {k: np.array(getattr(self, k)) for k in ("obs", "is_first", "returns", "lengths")}
        for name in ("returns", "lengths"):
            own[name][self.env.restarts] = 0  # the next step ends these episodes
        return {"driver": own, "env": env}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from `get_state`."""
        for name, value in state["driver"].items():
            setattr(self, name, np.array(value))
        self.env.set_state(state["env"])


def jax_inputs(driver: Driver) -> tuple[jax.Array, jax.Array]:
    """Observations [E, O] float32 and is_first [E] on device."""
    return jnp.asarray(driver.obs, jnp.float32), jnp.asarray(driver.is_first)
