"""Errors of the predictions of a reward-free model over whole episodes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agents.goals.agent import GoalModel

CHUNK = 256


class Log:
    """Frames and actions on the way to each goal; filled by `run_goals`."""

    def __init__(self) -> None:
        self.frames: dict[int, list[np.ndarray]] = {}
        self.actions: dict[int, list[np.ndarray]] = {}

    def add(self, goals: np.ndarray, frames: Any, actions: np.ndarray) -> None:
        """One tick of all simulators; those without a goal are -1."""
        for slot in np.flatnonzero(goals >= 0):
            goal = int(goals[slot])
            self.frames.setdefault(goal, []).append(np.array(frames[slot]))
            self.actions.setdefault(goal, []).append(np.array(actions[slot]))


def surprises(model: GoalModel, params: Any, scale: Any, log: Log) -> dict[int, float]:
    """Mean error of predictions one step (a block of decisions) ahead, of every episode.

    Root mean square over that of two random observations. NaN where an episode was too short.
    """

    @jax.jit
    def errors(before: jax.Array, actions: jax.Array, after: jax.Array) -> jax.Array:
        def one(before, actions, after):
            expected = model.step(params, model.encode(params, before), actions)
            found = model.embed(params, model.encode(params, after))
            away = jnp.mean((model.embed(params, expected) - found) ** 2)
            return jnp.sqrt(away / scale)

        return jax.vmap(one)(before, actions, after)

    found = {}
    for goal in log.frames:
        slices = _slices(model, np.stack(log.frames[goal]), np.stack(log.actions[goal]))
        count = len(slices[0])
        found[goal] = float("nan")
        if count:
            full = [np.resize(x, (CHUNK, *x.shape[1:])) for x in slices]  # one program for all
            found[goal] = float(np.mean(np.asarray(errors(*full))[:count]))
    return found


def _slices(
    model: GoalModel, frames: np.ndarray, actions: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Histories [N, history, ...] before and after every block of actions [N, block x A]."""
    at = np.arange(np.clip(len(frames) - model.block, 0, CHUNK))
    back = model.spacing * np.arange(model.history - 1, -1, -1)
    taken = actions[at[:, None] + np.arange(model.block)]
    block = taken.reshape(len(at), model.block * model.action_dim)
    before = np.maximum(at[:, None] - back, 0)
    return frames[before], block, frames[np.maximum(at[:, None] + model.block - back, 0)]
