"""Noisy and late observations and actions, around any of our vector environments."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from envs.native.shift import Shift
from envs.native.streams import make_streams, pack_streams, renewed, unpack_streams
from envs.vector import Arrays, part_of

_OWN = "disturbed/"


class DisturbedVectorEnv:
    """An environment seen and driven through poor channels; the rest is that environment's.

    A late observation is the one of some decisions ago, the first of the episode until then; a
    late action is carried out some decisions later, zeros until then. Noise has streams of its
    own, so that episodes start as they do without it. What a task reports in `info` is exact.
    """

    def __init__(self, env: Any, shifts: Sequence[Shift], seed: int | None = None) -> None:
        self.env = env
        count, spec = env.num_envs, env.env_spec
        self._obs_noise = np.array([s.obs_noise for s in shifts])
        self._action_noise = np.array([s.action_noise for s in shifts])
        self._obs_delay = np.array([s.obs_delay for s in shifts])
        self._action_delay = np.array([s.action_delay for s in shifts])
        self._rows = np.arange(count)
        self._seen = np.zeros((self._obs_delay.max() + 1, count, spec.obs_dim))
        self._asked = np.zeros((self._action_delay.max() + 1, count, spec.action_dim))
        self._given = np.zeros((count, spec.obs_dim))
        self._reseed(seed, np.ones(count, bool))

    def __getattr__(self, name: str) -> Any:
        if name == "env":  # while it is being copied or unpickled
            raise AttributeError(name)
        return getattr(self.env, name)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Any:
        """As the environment's `reset`."""
        obs, info = self.env.reset(seed=seed, options=options)
        if seed is not None:
            self._reseed(seed, info["is_reset"])
        return self._begun(obs, info["is_reset"]), info

    def begin(self, *args: Any, **kwargs: Any) -> Any:
        """As the environment's `begin`."""
        obs, info = self.env.begin(*args, **kwargs)
        return self._begun(obs, info["is_reset"]), info

    def step(self, actions: Any) -> Any:
        """As the environment's `step`."""
        self._asked = np.roll(self._asked, 1, axis=0)
        self._asked[0] = self.env.check_actions(actions)
        late = self._asked[self._action_delay, self._rows]
        obs, reward, terminated, truncated, info = self.env.step(
            late + self._noise(self._action_noise, late.shape[1])
        )
        self._seen = np.roll(self._seen, 1, axis=0)
        self._seen[0] = obs
        self._given = self._through(~info["is_reset"])
        given = self._begun(obs, info["is_reset"])
        return given, reward, terminated, truncated, info

    def get_state(self) -> Arrays:
        """The environment's state, and that of its channels."""
        own = {"seen": self._seen, "asked": self._asked, "given": self._given}
        own["streams"] = pack_streams(self._streams)
        return self.env.get_state() | {_OWN + name: value.copy() for name, value in own.items()}

    def set_state(self, state: Arrays) -> None:
        """Go back to what `get_state` gave."""
        self.env.set_state({k: v for k, v in state.items() if not k.startswith(_OWN)})
        own = {name: value.copy() for name, value in part_of(state, _OWN).items()}
        self._seen, self._asked, self._given = own["seen"], own["asked"], own["given"]
        self._streams = unpack_streams(own["streams"])

    def _reseed(self, seed: Any, chosen: np.ndarray) -> None:
        new = [stream.spawn(1)[0] for stream in make_streams(seed, self.env.num_envs)]
        self._streams = renewed(getattr(self, "_streams", new), new, seed, chosen)

    def _begun(self, obs: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Start the channels of episodes that have just begun."""
        self._seen[:, chosen], self._asked[:, chosen] = obs[chosen], 0.0
        self._given = self._through(chosen)
        return self._given.copy()

    def _through(self, chosen: np.ndarray) -> np.ndarray:
        """What comes through for the `chosen`; the others' latest again."""
        late = self._seen[self._obs_delay, self._rows]
        noise = self._noise(np.where(chosen, self._obs_noise, 0.0), late.shape[1])
        return np.where(chosen[:, None], late + noise, self._given)

    def _noise(self, scale: np.ndarray, size: int) -> np.ndarray:
        """Noise [E, size], drawn by those simulators whose scale [E] is not zero."""
        out = np.zeros((len(scale), size))
        for index in np.flatnonzero(scale):
            out[index] = scale[index] * self._streams[index].standard_normal(size)
        return out
