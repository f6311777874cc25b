"""OGBench's mazes and cubes behind the vector contract, with goals and its published success.

`ogbench:cube-single-v0`, `ogbench:pointmaze-medium-v0` and their like, through the package from
PyPI (extra `[ogbench]`). Only simulators are used: nothing is ever downloaded. An episode does not
end at its goal, and no picture shows it.
"""

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from envs.adapters import mjstate
from envs.adapters.gym import GymSimulator
from envs.adapters.loop import LoopVectorEnv
from envs.native.goals import GoalView
from envs.native.streams import make_streams, pack_streams, unpack_streams
from envs.spec import EnvError, UnknownTaskError, nearest
from envs.task_list import OGBENCH
from envs.tasks.engine import engine
from envs.vector import Arrays, Begun, Stepped

IDS = (
    *(f"pointmaze-{size}-v0" for size in ("medium", "large", "giant")),
    *(f"antmaze-{size}-v0" for size in ("medium", "large", "giant")),
    *(f"cube-{count}-v0" for count in ("single", "double", "triple", "quadruple")),
)


def checked_name(name: str) -> str:
    """`name`, an id without its prefix. Raises UnknownTaskError with the nearest one."""
    if name not in IDS:
        near = OGBENCH + nearest(name, IDS)
        raise UnknownTaskError(f"unknown task {OGBENCH + name!r}: did you mean {near}?")
    return name


class OGBenchSimulator(GymSimulator):
    """One OGBench environment whose every random draw comes from one stream."""

    backend = "ogbench"

    def __init__(self, name: str) -> None:
        _import_ogbench()
        with warnings.catch_warnings():  # its action space is made in float64, and cast
            warnings.filterwarnings("ignore", ".*precision lowered by casting.*")
            super().__init__(name)
            self._core: Any = _recorded(self.env.unwrapped)
        self._stream = make_streams(None, 1)[0]
        self._core._terminate_at_goal = False
        self._core._visualize_info = False  # cubes: neither targets nor success are to be seen
        self.goal_obs = np.zeros(0)
        self._goal_qpos = np.zeros(0)

    def reset(self, seed: int | None) -> np.ndarray:
        """Start an episode of one of the tasks that OGBench evaluates."""
        if seed is not None:
            self._stream = make_streams([seed], 1)[0]
        draw = int(self._stream.integers(2**31))
        self._core.recorded.clear()
        self._core.seeded_space.seed(draw)
        with _global_seed(draw):
            obs, info = self.env.reset(seed=draw)
        self.goal_obs = self.observations.flat(info["goal"])
        self._goal_qpos = next(qpos for ob, qpos in self._core.recorded if ob is info["goal"])
        self._prepare_pictures()
        self._warned = self._warnings()
        return self.observations.flat(obs)

    def _prepare_pictures(self) -> None:
        self._core.model.vis.global_.offwidth = self._core.model.vis.global_.offheight = 640
        if self._maze:
            _look_down_on_maze(self._core)

    @property
    def _maze(self) -> bool:
        return hasattr(self._core, "get_xy")

    def goal_info(self) -> tuple[np.ndarray, np.ndarray, bool]:
        """Achieved [G], goal [G] and whether that is OGBench's success."""
        core = self._core
        if self._maze:
            return np.array(core.get_xy()), np.array(core.cur_goal_xy), core.compute_success()
        places = [core.data.joint(f"object_joint_{i}").qpos[:3] for i in range(core._num_cubes)]
        targets = core.data.mocap_pos[core._cube_target_mocap_ids]
        return np.ravel(places), np.ravel(targets), all(core._compute_successes())

    def goal_picture(self, height: int, width: int) -> np.ndarray:
        """The scene as it is at the goal, uint8 [H, W, 3]; the episode goes on as it was."""
        model, data = self._core.model, self._core.data
        before = mjstate.get_state(model, data)
        data.qpos[:], data.qvel[:] = self._goal_qpos, 0.0
        engine().mj_forward(model, data)
        try:
            return self.render(height, width)
        finally:
            mjstate.set_state(model, data, before)

    def frame(self, action: np.ndarray) -> Any:
        """One step, with OGBench's own draws repeatable."""
        with _global_seed(int(self._stream.integers(2**31))):
            return super().frame(action)

    def get_state(self) -> Arrays:
        """Everything that decides the future, and the goal."""
        _, goal, _ = self.goal_info()
        own = {"stream": pack_streams([self._stream]), "goal": goal, "goal_obs": self.goal_obs}
        return super().get_state() | own | {"goal_qpos": self._goal_qpos}

    def set_state(self, state: Arrays) -> None:
        """Go back to what `get_state` gave."""
        with _global_seed(0):
            super().set_state(state)
        self._stream = unpack_streams(state["stream"])[0]
        self.goal_obs, self._goal_qpos = state["goal_obs"].copy(), state["goal_qpos"].copy()
        if self._maze:
            self._core.set_goal(goal_xy=tuple(state["goal"].tolist()))
        self._prepare_pictures()


class OGBenchVectorEnv(LoopVectorEnv):
    """Simulators with goals: info has `achieved` and `goal` [E, G] and `success` [E] bool."""

    def reset(self, **kwargs: Any) -> Begun:
        """As `LoopVectorEnv.reset`."""
        obs, info = super().reset(**kwargs)
        return obs, info | self._goals()

    def step(self, actions: Any) -> Stepped:
        """As `LoopVectorEnv.step`."""
        obs, reward, terminated, truncated, info = super().step(actions)
        return obs, reward, terminated, truncated, info | self._goals()

    def goal_view(self, picture: tuple[int, int] | None = None) -> GoalView:
        """Observations, and pictures (height, width), of the goals of the current episodes."""
        self._last_obs("goal_view")
        simulators: Any = self.simulators
        pictures = None
        if picture is not None:
            pictures = np.stack([one.goal_picture(*picture) for one in simulators])
        obs = np.stack([one.goal_obs for one in simulators])
        return GoalView(obs, self._goals()["goal"], pictures)

    def _goals(self) -> Arrays:
        simulators: Any = self.simulators
        rows = zip(*(one.goal_info() for one in simulators), strict=True)
        return dict(zip(("achieved", "goal", "success"), map(np.array, rows), strict=True))


def _import_ogbench() -> None:
    """Register OGBench's environments. Raises EnvError with the command that installs it."""
    try:
        importlib.import_module("ogbench")
    except ImportError as error:
        raise EnvError(
            f"{OGBENCH} tasks need the package ogbench ({error}): pip install 'latentmpc[ogbench]'"
        ) from error


@contextmanager
def _global_seed(seed: int) -> Iterator[None]:
    """numpy's global stream, from which OGBench draws, seeded for a while and then given back."""
    before = np.random.get_state()
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        np.random.set_state(before)


def _recorded(core: Any) -> Any:
    """The environment with an action space of one seedable stream, noting what it observes.

    OGBench draws actions to settle a goal from spaces that nobody can seed, and tells of a goal
    only its observation; `recorded` keeps the configuration beside each one.
    """
    base = type(core)
    observe = "get_ob" if hasattr(base, "get_ob") else "compute_observation"
    space, records = core.action_space, []

    def noting(self: Any, *args: Any, **kwargs: Any) -> Any:
        obs = getattr(base, observe)(self, *args, **kwargs)
        records.append((obs, self.data.qpos.copy()))
        del records[:-50]
        return obs

    members = {
        observe: noting,
        "action_space": property(lambda self: space, lambda self, value: None),
        "seeded_space": property(lambda self: space),
        "recorded": property(lambda self: records),
    }
    core.__class__ = type(base.__name__, (base,), members)
    return core


def _look_down_on_maze(core: Any) -> None:
    """Point the free camera, which pictures use, straight down on the maze; hide the goal."""
    rows, columns = core.maze_map.shape
    model = core.model
    model.stat.center[:] = 2 * (columns - 3), 2 * (rows - 3), 0
    model.stat.extent = 3.4 * max(rows, columns)
    model.vis.global_.azimuth, model.vis.global_.elevation = 90, -90
    model.geom("target").rgba[3] = 0.0
