"""One simulator as an ordinary gymnasium.Env."""

from typing import Any

import gymnasium
import numpy as np

from envs.registry import make_registered_vec


class SingleEnv(gymnasium.Env):
    """A task of this project for one agent: obs [O] float64, actions [A] in [-1, 1].

    `info["invalid"]` is true when MuJoCo's warnings ended the episode; tasks with goals also give
    `achieved`, `goal` and `success`. `shift` is text that `envs.native.shift.Shift.parse` reads.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 50}  # noqa: RUF012

    def __init__(self, task: str, render_mode: str | None = None, **making: Any) -> None:
        """`making`: `action_repeat` and `shift`, as `envs.registry.make_vec` takes them."""
        self._vec = make_registered_vec(task, 1, render_mode, num_threads=1, **making)
        self.env_spec = self._vec.env_spec
        self.render_mode = render_mode
        period = self.env_spec.control_dt * self.env_spec.action_repeat
        self.metadata = {**self.metadata, "render_fps": max(1, round(1 / period))}
        self.action_space = self._vec.single_action_space
        self.observation_space = self._vec.single_observation_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode; the same seed gives the same one."""
        super().reset(seed=seed)
        obs, info = self._vec.reset(seed=None if seed is None else [seed])
        return obs[0], _of_one(info)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One decision. Raises EnvError for a bad action or without a reset."""
        out = self._vec.step(np.asarray(action)[None])
        obs, reward, terminated, truncated, info = out
        return obs[0], float(reward[0]), bool(terminated[0]), bool(truncated[0]), _of_one(info)

    def get_state(self) -> dict[str, np.ndarray]:
        """Everything that decides the future."""
        return self._vec.get_state()

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Go back to what `get_state` gave."""
        self._vec.set_state(state)

    def render(self) -> np.ndarray | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """A picture, when made with render_mode="rgb_array"."""
        return self._vec.render() if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Close the simulator."""
        self._vec.close()


def _of_one(info: dict[str, Any]) -> dict[str, Any]:
    """The info of the one simulator."""
    one = {name: value[0] for name, value in info.items() if name != "is_reset"}
    return {name: value if np.ndim(value) else bool(value) for name, value in one.items()}
