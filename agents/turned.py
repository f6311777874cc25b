"""Recorded episodes turned by random angles: a world without a north is learned from all sides.

Where a task looks the same however the scene is turned, each recorded moment stands for a circle of
them. Pictures are not turned.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from agents.config import ConfigError
from agents.dataset import Dataset, Split
from envs.registry import make_vec
from envs.spec import EnvSpec

Turn = Callable[..., Any]
"""(observations [..., O], actions [..., A], angles [...]) -> both, turned."""


def task_of(env_id: str) -> Any:
    """The task of native simulators; None for others. Raises what `make_vec` raises."""
    env = make_vec(env_id, 1)
    task = getattr(getattr(env, "simulators", None), "task", None)
    env.close()
    return task


def turn_of(spec: EnvSpec) -> Turn:
    """How moments of a task are turned. Raises ConfigError where it differs from side to side."""
    turn: Turn | None = getattr(task_of(spec.env_id), "turned", None)
    if turn is None or turn(np, *_nothing(spec)) is None:
        raise ConfigError(
            f"{spec.env_id} does not look the same from all sides: its episodes cannot be turned"
        )
    return partial(turn, np)


def _nothing(spec: EnvSpec) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.zeros(spec.obs_dim), np.zeros(spec.action_dim), np.zeros(())


class Turned:
    """A dataset whose stretches are each seen from a random side.

    Raises ConfigError where the task differs from side to side.
    """

    def __init__(self, data: Dataset):
        self._data, self._turn = data, turn_of(data.spec)

    def slices(
        self,
        rng: np.random.Generator,
        split: Split,
        batch: int,
        length: int,
        pixels: bool = False,
        fields: Sequence[str] = ("obs", "action"),
    ) -> dict[str, np.ndarray]:
        """As those of the dataset; of observations and actions. Raises ConfigError for pixels."""
        if pixels:
            raise ConfigError("pictures cannot be turned: leave out --turned")
        drawn = self._data.slices(rng, split, batch, length, False, ("obs", "action"))
        angle = rng.uniform(-np.pi, np.pi, (batch, 1)).astype(np.float32)
        obs, action = self._turn(drawn["obs"], drawn["action"], angle)
        found = {"obs": obs, "action": action}
        return {name: found[name] for name in fields}


def turned_rows(
    turn: Turn, obs: np.ndarray, action: np.ndarray, lengths: Sequence[int], seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of whole episodes of `lengths` rows, one after another, each turned by an angle."""
    angles = np.random.default_rng(seed).uniform(-np.pi, np.pi, len(lengths))
    return turn(obs, action, np.repeat(angles, lengths).astype(np.float32))
