"""Vector environment over any simulators that step one by one in Python.

The same contract as the native batches (see `envs.native.env`), for simulators that are not ours:
adapters in `dmc.py` and `gym.py` say how one of them resets, steps a frame and is saved.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from envs.spec import EnvError, EnvSpec
from envs.tasks.engine import quiet_mujoco
from envs.vector import SimulatorVectorEnv, step_info


class Frame(NamedTuple):
    """What one frame of one simulator gave."""

    obs: np.ndarray
    reward: float
    terminated: bool
    truncated: bool
    invalid: bool


class Simulator(Protocol):
    """One simulator behind the loop."""

    def reset(self, seed: int | None) -> np.ndarray:
        """Start an episode, on a new random stream if seeded; obs [O] float64."""
        ...

    def frame(self, action: np.ndarray) -> Frame:
        """Advance one frame of `action` [A] in [-1, 1]."""
        ...

    def get_state(self) -> dict[str, np.ndarray]:
        """Everything that decides the future."""
        ...

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Go back to what `get_state` gave."""
        ...

    def render(self, height: int, width: int) -> np.ndarray:
        """Picture, uint8 [H, W, 3]."""
        ...

    def close(self) -> None:
        """Give resources back."""
        ...


class LoopVectorEnv(SimulatorVectorEnv):
    """`num_envs` simulators stepped one after another; NEXT_STEP autoreset."""

    def __init__(self, spec: EnvSpec, make: Callable[[], Simulator], num_envs: int) -> None:
        super().__init__(spec, num_envs)
        self.simulators = [make() for _ in range(num_envs)]

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start a new episode everywhere, or where `options["reset_mask"]` [E] says so.

        An integer seed gives simulator i the stream (seed, i); a list gives each its own.
        """
        chosen = self._chosen(options)
        if self._obs is None:
            self._obs = np.zeros((self.num_envs, self.env_spec.obs_dim))
        seeds = _seeds(seed, self.num_envs)
        with quiet_mujoco():
            for i in np.flatnonzero(chosen):
                self._start(int(i), seeds[i])
        return self._obs.copy(), step_info(np.zeros(self.num_envs, bool), chosen)

    def step(
        self, actions: Any
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One decision: `action_repeat` frames, or fewer where the episode ends.

        Returns obs [E, O] float64, reward [E], terminated [E], truncated [E], info. Raises
        EnvError for actions of a wrong shape or not finite, or without a `reset` before.
        """
        obs, actions = self._last_obs("step"), self._checked(actions)
        resetting = self._pending.copy()
        reward = np.zeros(self.num_envs)
        terminated, truncated, invalid = np.zeros((3, self.num_envs), bool)
        with quiet_mujoco():
            for i in range(self.num_envs):
                if resetting[i]:
                    self._start(i, None)
                else:
                    ended = self._decide(i, actions[i])
                    reward[i], terminated[i], truncated[i], invalid[i] = ended
        self._pending = terminated | truncated
        return obs.copy(), reward, terminated, truncated, step_info(invalid, resetting)

    def _start(self, i: int, seed: int | None) -> None:
        self._obs[i] = self.simulators[i].reset(seed)  # pyright: ignore[reportOptionalSubscript]
        self._frames[i], self._pending[i] = 0, False

    def _decide(self, i: int, action: np.ndarray) -> tuple[float, bool, bool, bool]:
        """Frames of one decision of simulator i: reward, terminated, truncated, invalid."""
        total, limit = 0.0, self.env_spec.episode_frames
        for _ in range(self.env_spec.action_repeat):
            frame = self.simulators[i].frame(action)
            if frame.invalid:
                return 0.0, False, True, True
            self._frames[i] += 1
            self._obs[i] = frame.obs  # pyright: ignore[reportOptionalSubscript]
            total += frame.reward
            late = frame.truncated or (limit > 0 and self._frames[i] >= limit)
            if frame.terminated or late:
                return total, frame.terminated, bool(late and not frame.terminated), False
        return total, False, False, False

    def get_state(self) -> dict[str, np.ndarray]:
        """Everything that decides the future, as arrays: `set_state` goes on bit for bit.

        Raises EnvError before the first reset, and for simulators that cannot be saved.
        """
        state = self._bookkeeping()
        for i, simulator in enumerate(self.simulators):
            state |= {f"{i}/{name}": np.array(v) for name, v in simulator.get_state().items()}
        return state

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Go back to what `get_state` gave, on as many simulators of the same task."""
        if state["obs"].shape != (self.num_envs, self.env_spec.obs_dim):
            raise EnvError(
                f"the state is of {state['obs'].shape} observations; expected "
                f"{(self.num_envs, self.env_spec.obs_dim)}"
            )
        for i, simulator in enumerate(self.simulators):
            prefix = f"{i}/"
            own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            simulator.set_state(own)
        self._set_bookkeeping(state)

    def render(self, index: int = 0, height: int = 240, width: int = 320) -> np.ndarray:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Simulator `index`, uint8 [H, W, 3]. Raises EnvError where OpenGL does not work."""
        if not 0 <= index < self.num_envs:
            raise EnvError(f"no simulator {index}; expected 0 to {self.num_envs - 1}")
        return self.simulators[index].render(height, width)

    def close_extras(self, **kwargs: Any) -> None:
        """Close every simulator."""
        for simulator in self.simulators:
            simulator.close()


def scaled(action: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """An action in [-1, 1] in the simulator's units; unbounded dimensions pass through."""
    bounded = np.isfinite(low) & np.isfinite(high) & (high - low < 1e6)
    low, high = np.where(bounded, low, -1.0), np.where(bounded, high, 1.0)
    return low + 0.5 * (action + 1.0) * (high - low)


def _seeds(seed: int | Sequence[int | None] | None, count: int) -> list[int | None]:
    if seed is None:
        return [None] * count
    if isinstance(seed, int | np.integer):
        if seed < 0:
            raise EnvError(f"seed must not be negative, got {seed}")
        return [
            int(np.random.SeedSequence((int(seed), i)).generate_state(1)[0]) for i in range(count)
        ]
    if len(seed) != count:
        raise EnvError(f"{len(seed)} seeds for {count} simulators; expected one each")
    return [None if s is None else int(s) for s in seed]
