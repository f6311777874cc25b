"""What our vector environments share: spaces, NEXT_STEP bookkeeping and checked input."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from envs.spec import EnvError, EnvSpec

Arrays = dict[str, np.ndarray]
Seed = int | Sequence[int | None] | None
"""An integer gives simulator i the stream (seed, i); a list gives each its own; None: none."""
Options = dict[str, Any] | None
"""Of a reset: {"reset_mask": [E] bool}, the simulators to reset, or nothing for all."""
Begun = tuple[np.ndarray, dict[str, Any]]
"""What a reset returns: obs [E, O] float64, info."""
Stepped = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]
"""What a step returns: obs [E, O] float64, reward [E] float64, terminated, truncated [E], info."""


class SimulatorVectorEnv(VectorEnv):
    """`num_envs` simulators of one spec, each with its frame count and pending reset.

    A step is one decision: `action_repeat` frames, or fewer where the episode ends. An episode that
    ends is reset by the next step (NEXT_STEP), which ignores that simulator's action.
    `info["invalid"]` [E] marks episodes that the simulator's own warnings or errors ended: they are
    truncated, with reward 0 and the last valid observation. `info["is_reset"]` [E] marks simulators
    that the step or reset began anew. `env_spec` holds the plain facts.

    `get_state` gives everything that decides the future as arrays, from which `set_state` goes on
    bit for bit on as many simulators of the same task; those that are `unsaved` are reset by the
    next step instead. All raise EnvError for bad input.
    """

    metadata: ClassVar[dict[str, Any]] = {
        "autoreset_mode": AutoresetMode.NEXT_STEP,
        "render_modes": ["rgb_array"],
    }

    def __init__(self, spec: EnvSpec, num_envs: int) -> None:
        if num_envs < 1:
            raise EnvError(f"num_envs must be at least 1, got {num_envs}")
        self.env_spec = spec
        self.num_envs = num_envs
        self.single_action_space = spaces.Box(-1, 1, (spec.action_dim,), np.float32)
        self.single_observation_space = spaces.Box(-np.inf, np.inf, (spec.obs_dim,), np.float64)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.notes: tuple[str, ...] = ()
        """What was assumed about the environment, a line each."""
        self.faults: Counter[str] = Counter()
        """Why episodes were ended as invalid, and how often."""
        self._frames = np.zeros(num_envs, np.int64)
        self._pending = np.zeros(num_envs, bool)
        self._obs: np.ndarray | None = None

    @property
    def unsaved(self) -> str:
        """Why the simulators' state cannot be saved, so that `set_state` begins new episodes."""
        return ""

    @property
    def restarts(self) -> np.ndarray:
        """[E] bool: the simulators for which that is so."""
        return np.full(self.num_envs, bool(self.unsaved))

    def check_actions(self, actions: Any) -> np.ndarray:
        """Actions [E, A] float64, clipped to [-1, 1]. Raises EnvError unless finite, of shape."""
        expected = (self.num_envs, self.env_spec.action_dim)
        array = np.asarray(actions, np.float64)
        if array.shape != expected:
            raise EnvError(f"actions have shape {array.shape}; expected {expected}")
        if not np.isfinite(array).all():
            bad = np.flatnonzero(~np.isfinite(array).all(axis=1)).tolist()
            raise EnvError(f"actions of simulators {bad} are not finite; expected [-1, 1]")
        return np.clip(array, -1, 1)

    def render(self, index: int = 0, height: int = 240, width: int = 320) -> np.ndarray:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Simulator `index` from camera 0, uint8 [H, W, 3].

        Raises EnvError for no such simulator, or where OpenGL does not work.
        """
        if not 0 <= index < self.num_envs:
            raise EnvError(f"no simulator {index}; expected 0 to {self.num_envs - 1}")
        return self._picture(index, height, width)

    def _picture(self, index: int, height: int, width: int) -> np.ndarray:
        raise NotImplementedError

    def _info(self, invalid: np.ndarray, is_reset: np.ndarray) -> dict[str, Any]:
        """The info of a step or reset."""
        return {"invalid": invalid, "is_reset": is_reset.copy()}

    def _last_obs(self, caller: str) -> np.ndarray:
        """The latest observations [E, O]. Raises EnvError before the first reset."""
        if self._obs is None:
            raise EnvError(f"{caller}() before reset(); call reset() first")
        return self._obs

    def _chosen(self, options: Options) -> np.ndarray:
        """[E] bool: the simulators that a reset is asked for."""
        chosen = np.asarray((options or {}).get("reset_mask", np.ones(self.num_envs, bool)), bool)
        if chosen.shape != (self.num_envs,) or (self._obs is None and not chosen.all()):
            raise EnvError(
                f"reset_mask must have shape ({self.num_envs},) and the first reset be of all"
            )
        return chosen

    def _bookkeeping(self) -> Arrays:
        """Copies of the arrays kept here."""
        obs = self._last_obs("get_state")
        mine = {"frames": self._frames, "pending": self._pending, "obs": obs}
        return {name: value.copy() for name, value in mine.items()}

    def _set_bookkeeping(self, state: Arrays) -> None:
        self._frames, self._pending = state["frames"].copy(), state["pending"].copy()
        self._obs = state["obs"].copy()


def checked_state(state: Arrays, mine: Arrays) -> Arrays:
    """`state` as arrays of the shapes and types in `mine`. Raises EnvError naming what differs."""
    state = {name: np.asarray(value) for name, value in state.items()}
    for name, own in mine.items():
        given = state.get(name)
        if given is None or given.shape != own.shape or given.dtype != own.dtype:
            found = "nothing" if given is None else f"{given.dtype}{list(given.shape)}"
            raise EnvError(
                f"simulator state {name!r} is {found}; expected {own.dtype}{list(own.shape)}"
            )
    return state


def part_of(state: Arrays, prefix: str) -> Arrays:
    """The arrays whose names begin with `prefix`, by the rest of their names."""
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
