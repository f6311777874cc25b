"""Gymnasium's spaces as flat vectors: observations [O], and actions [A] in [-1, 1]."""

from typing import Any

import numpy as np
from gymnasium import spaces

from envs.adapters.foreign import calling
from envs.spec import EnvError, UnfitEnvError

NO_BOUND = 1e30
"""Bounds from here on (the largest float32 is a common one) are none."""
MOST_CLASSES = 4096
"""Of an observation that becomes a one-hot vector."""
_CHOICES = spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary


class Observations:
    """From observations of a space to vectors: numbers as they are, choices as one-hot vectors.

    The parts of a Dict or Tuple stand one after another in its order, so that the goal of a goal
    environment is part of the vector.
    """

    def __init__(self, env_id: str, space: spaces.Space) -> None:
        """Raises UnfitEnvError naming what cannot be a vector."""
        self.env_id = env_id
        self._leaves = _leaves(space, ())
        for path, leaf in self._leaves:
            if reason := _unfit(leaf):
                where = f" in {'.'.join(map(str, path))!r}" if path else ""
                raise UnfitEnvError(f"{env_id} observes {_short(leaf)}{where}: {reason}")
        self.parts = tuple(
            (".".join(map(str, path)) or "obs", int(spaces.flatdim(leaf)))
            for path, leaf in self._leaves
        )
        self.size = sum(size for _, size in self.parts)
        if not self.size:
            raise UnfitEnvError(f"{env_id} observes nothing ({_short(space)})")

    def flat(self, obs: Any) -> np.ndarray:
        """An observation [O] float64. Raises EnvError for one that is not of the space."""
        return np.concatenate([self._part(obs, path, leaf) for path, leaf in self._leaves])

    def _part(self, obs: Any, path: tuple, leaf: Any) -> np.ndarray:
        with calling(self.env_id, f"reading its observation {'.'.join(map(str, path))}".rstrip()):
            for key in path:
                obs = obs[key]
            if not isinstance(leaf, (spaces.Box, *_CHOICES)):
                return np.asarray(spaces.flatten(leaf, obs), np.float64)
            value = np.asarray(obs, np.float64)
        name, shape = ".".join(map(str, path)) or "it", leaf.shape or ()
        if np.squeeze(value).shape != np.squeeze(np.empty(shape)).shape:
            raise EnvError(
                f"{self.env_id}: an observation ({name}) has shape {value.shape}, its space says "
                f"{shape}"
            )
        if isinstance(leaf, spaces.Box):
            return value.ravel()
        chosen = value.reshape(shape)
        if not _is_choice(leaf, chosen):
            raise EnvError(
                f"{self.env_id}: an observation ({name}) is {_short(chosen)}, its space says "
                f"{_short(leaf)}"
            )
        return np.asarray(spaces.flatten(leaf, chosen.astype(leaf.dtype)), np.float64)


def _is_choice(leaf: Any, value: np.ndarray) -> bool:
    """Whether these are whole numbers in the range of the space."""
    count = leaf.n if isinstance(leaf, spaces.Discrete) else getattr(leaf, "nvec", 2)
    place = value - getattr(leaf, "start", 0)
    return bool(((place >= 0) & (place < count) & (place == np.floor(place))).all())


def _leaves(space: spaces.Space, path: tuple) -> list[tuple[tuple, spaces.Space]]:
    if isinstance(space, spaces.Dict):
        inner: Any = space.spaces.items()
    elif isinstance(space, spaces.Tuple):
        inner = enumerate(space.spaces)
    else:
        return [(path, space)]
    return [leaf for key, part in inner for leaf in _leaves(part, (*path, key))]


def _unfit(leaf: spaces.Space) -> str:
    """Why an observation cannot be a vector."""
    if isinstance(leaf, spaces.Box) and leaf.dtype == np.uint8 and len(leaf.shape) > 1:
        return "pictures are not learned from with rewards; expected numbers"
    if not leaf.is_np_flattenable or isinstance(leaf, spaces.Text | spaces.OneOf):
        return "expected numbers of a fixed count (Box, Discrete, Dict, ...)"
    numbers = isinstance(leaf, spaces.Box | spaces.MultiBinary)
    if not numbers and spaces.flatdim(leaf) > MOST_CLASSES:
        return f"a one-hot vector of more than {MOST_CLASSES} numbers"
    return ""


def _short(shown: spaces.Space | np.ndarray) -> str:
    text = " ".join(str(shown).split())
    return text if len(text) <= 120 else f"{text[:100]}..."


class Actions:
    """From actions [A] in [-1, 1] to those of a Box, whose bounds they fill.

    Whole numbers have equal shares of [-1, 1]. A missing bound is assumed, and `note` says so.
    """

    def __init__(
        self, env_id: str, space: spaces.Space, assumed: tuple[float, float] | None
    ) -> None:
        """Raises UnfitEnvError for what is no Box with actions, or bounds that cannot be."""
        if not isinstance(space, spaces.Box):
            raise UnfitEnvError(
                f"{env_id} has the actions {_short(space)}; expected continuous ones (Box): "
                "`latentmpc tasks` lists tasks that fit"
            )
        self.space, self.size = space, int(np.prod(space.shape))
        if not self.size:
            raise UnfitEnvError(f"{env_id} has no actions ({_short(space)})")
        # the bounds of whole numbers are never infinite: that there are none is told apart
        low = np.where(space.bounded_below, space.low, -np.inf).ravel().astype(np.float64)
        high = np.where(space.bounded_above, space.high, np.inf).ravel().astype(np.float64)
        self.low, self.high = _filled(low, high, assumed or (-1.0, 1.0))
        if not (self.low <= self.high).all():
            raise UnfitEnvError(f"{env_id}: --action-range does not fit {_short(space)}")
        free, self.note = (self.low != low) | (self.high != high), ""
        if free.any() and not assumed:
            self.note = (
                f"{free.sum()} of {self.size} actions have no bounds; taken as within "
                f"[{self.low[free].min():g}, {self.high[free].max():g}] (--action-range LOW:HIGH "
                "changes it)"
            )

    def of(self, action: np.ndarray) -> np.ndarray:
        """The environment's action, of its shape and type, never outside its bounds."""
        share = 0.5 * (np.asarray(action, np.float64) + 1.0)
        if self.space.dtype is not None and self.space.dtype.kind in "biu":
            value = np.floor(self.low + share * (self.high - self.low + 1))
        else:
            value = self.low + share * (self.high - self.low)
        value = np.clip(value, self.low, self.high).reshape(self.space.shape)
        return np.clip(value.astype(self.space.dtype), self.space.low, self.space.high)


def _filled(
    low: np.ndarray, high: np.ndarray, assumed: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds with the assumed ones, moved to touch one that is given, where they are missing."""
    below, above = low <= -NO_BOUND, high >= NO_BOUND
    width = assumed[1] - assumed[0]
    start = np.where(below, np.where(above, assumed[0], np.minimum(assumed[0], high - width)), low)
    end = np.where(above, np.where(below, assumed[1], np.maximum(assumed[1], low + width)), high)
    return start, end
