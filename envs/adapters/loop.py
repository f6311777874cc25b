"""Vector environment over any simulators that step one by one in Python.

The same contract as the native batches (see `envs.vector`), for simulators that are not ours:
adapters in `dmc.py` and `gym.py` say how one of them resets, steps a frame and is saved.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from envs.native.streams import check_seed
from envs.spec import EnvError, EnvSpec, UnsavableError
from envs.tasks.engine import quiet_mujoco
from envs.vector import Arrays, Begun, Options, Seed, SimulatorVectorEnv, Stepped, part_of


class Frame(NamedTuple):
    """What one frame of one simulator gave."""

    obs: np.ndarray
    reward: float
    terminated: bool
    truncated: bool
    invalid: bool
    reason: str = ""
    """Why it is invalid, in words."""


class LoopVectorEnv(SimulatorVectorEnv):
    """`num_envs` simulators stepped one after another.

    `simulator(name)` makes one of them. It has
        reset(seed or None) -> obs [O] float64: start an episode, on a new stream if seeded
        frame(action [A] in [-1, 1]) -> Frame
        notes: what was assumed about it, a line each
        unsaved: why its state cannot be saved, or nothing
        get_state() -> arrays that decide the future; set_state(arrays)
        render(height, width) -> uint8 [H, W, 3]
        close()
    """

    def __init__(
        self, simulator: Callable[[str], Any], spec: EnvSpec, name: str, num_envs: int
    ) -> None:
        super().__init__(spec, num_envs)
        self.simulators = [simulator(name) for _ in range(num_envs)]
        self.notes = tuple(self.simulators[0].notes)
        self._lost = ""
        self._seeds = _seeds(None, num_envs)
        self._restart: dict[int, int] = {}
        """Seeds of simulators whose state could not be saved, for their next episode."""

    @property
    def unsaved(self) -> str:
        """Why the state of the simulators cannot be saved: of their kind, or as one has failed."""
        return self._lost or self.simulators[0].unsaved

    def reset(self, *, seed: Seed = None, options: Options = None) -> Begun:
        """Start new episodes; without a seed the random streams go on."""
        chosen = self._chosen(options)
        if self._obs is None:
            self._obs = np.zeros((self.num_envs, self.env_spec.obs_dim))
        seeds = _seeds(seed, self.num_envs)
        with self._watched():
            for i in np.flatnonzero(chosen):
                self._start(int(i), seeds[i])
        return self._obs.copy(), self._info(np.zeros(self.num_envs, bool), chosen)

    def step(self, actions: Any) -> Stepped:
        """One decision with actions [E, A] in [-1, 1]; clipped to it."""
        obs, actions = self._last_obs("step"), self.check_actions(actions)
        resetting = self._pending.copy()
        reward = np.zeros(self.num_envs)
        terminated, truncated, invalid = np.zeros((3, self.num_envs), bool)
        with self._watched():
            for i in range(self.num_envs):
                if resetting[i]:
                    self._start(i, None)
                else:
                    ended = self._decide(i, actions[i])
                    reward[i], terminated[i], truncated[i], invalid[i] = ended
        self._pending = terminated | truncated
        return obs.copy(), reward, terminated, truncated, self._info(invalid, resetting)

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Simulators of which one failed have stepped in part: no state of them is to be saved."""
        with quiet_mujoco():
            try:
                yield
            except EnvError as error:
                self._lost = str(error)
                raise

    def _start(self, i: int, seed: int | None) -> None:
        if seed is None:
            seed = self._restart.pop(i, None)
        if seed is not None:
            self._seeds[i] = seed
        self._obs[i] = self.simulators[i].reset(seed)  # pyright: ignore[reportOptionalSubscript]
        self._frames[i], self._pending[i] = 0, False

    def _decide(self, i: int, action: np.ndarray) -> tuple[float, bool, bool, bool]:
        """Frames of one decision of simulator i: reward, terminated, truncated, invalid."""
        total, limit = 0.0, self.env_spec.episode_frames
        for _ in range(self.env_spec.action_repeat):
            frame = self.simulators[i].frame(action)
            if frame.invalid:
                self.faults[frame.reason or "the simulator gave up"] += 1
                return 0.0, False, True, True
            self._frames[i] += 1
            self._obs[i] = frame.obs  # pyright: ignore[reportOptionalSubscript]
            total += frame.reward
            late = frame.truncated or (limit > 0 and self._frames[i] >= limit)
            if frame.terminated or late:
                return total, frame.terminated, bool(late and not frame.terminated), False
        return total, False, False, False

    def get_state(self) -> Arrays:
        """Everything that decides the future; that of simulator i under `i/NAME`.

        Of simulators that are `unsaved`: the seeds of the episodes that begin in their place.
        """
        own: Arrays = {}
        try:
            for i, simulator in enumerate([] if self.unsaved else self.simulators):
                own |= {f"{i}/{name}": np.array(v) for name, v in simulator.get_state().items()}
        except UnsavableError as error:
            self._lost = str(error)
        state = self._bookkeeping()
        if not self.unsaved:
            return state | own
        seeds = [np.random.SeedSequence((seed or 0, 1)) for seed in self._seeds]
        drawn = np.array([seed.generate_state(1)[0] for seed in seeds], np.int64)
        return state | {"restart": drawn, "pending": np.ones(self.num_envs, bool)}

    def set_state(self, state: Arrays) -> None:
        """Go back to what `get_state` gave."""
        expected = (self.num_envs, self.env_spec.obs_dim)
        if state["obs"].shape != expected:
            found = state["obs"].shape
            raise EnvError(f"the state is of {found} observations; expected {expected}")
        self._restart = dict(enumerate(state.get("restart", np.empty(0)).tolist()))
        for i, simulator in enumerate([] if self._restart else self.simulators):
            simulator.set_state(part_of(state, f"{i}/"))
        self._set_bookkeeping(state)

    def _picture(self, index: int, height: int, width: int) -> np.ndarray:
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


def _seeds(seed: Seed, count: int) -> list[int | None]:
    check_seed(seed, count)
    if seed is None:
        return [None] * count
    if isinstance(seed, int | np.integer):
        keys = [np.random.SeedSequence((int(seed), i)) for i in range(count)]
        return [int(key.generate_state(1)[0]) for key in keys]
    return [None if s is None else int(s) for s in seed]
