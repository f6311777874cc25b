"""The physics of many simulators of one task: a thread pool, random streams and pictures.

Knows tasks and MuJoCo, but not Gymnasium, time limits or rewards summed over frames.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from envs.cores import usable_cores
from envs.native.render import Pictures
from envs.native.shift import Shift, shift_physics
from envs.native.streams import make_streams, pack_streams, renewed, unpack_streams
from envs.spec import EnvError
from envs.tasks import Task
from envs.tasks.engine import engine, quiet_mujoco

_MAX_REDRAWS = 1000
_STEPS_PER_THREAD = 32  # fewer cost less than handing them to another thread
_NO_STAGE, _POSITION_STAGE, _VELOCITY_STAGE = 0, 1, 2  # values of mujoco.mjtStage


class BoundFields:
    """MuJoCo's data fields of all simulators of a batch, [E, ...], bound when first asked for."""

    def __init__(self, batch: Any) -> None:
        self._bind = batch.bind

    def __getattr__(self, name: str) -> np.ndarray:
        if name.startswith("_"):
            raise AttributeError(name)
        array = self._bind(name)
        setattr(self, name, array)  # found without `__getattr__` from now on
        return array


class Simulators:
    """`count` simulators of a task.

    Attributes:
        task: the task, on the model they share.
        data: the batch's fields, current after every call.
        batch: the MuJoCo batch that holds them.
        model_fields: the model fields that episodes change, [E, ...] each.
        streams: one random generator each, from which its episodes start.
    """

    def __init__(self, task: type[Task], count: int, num_threads: int = 0) -> None:
        """Make the task; `num_threads=0` takes as many as pay, within this process's cores."""
        from mujoco.batch import Batch

        self.task, self.count = task(), count
        threads = num_threads or _useful_threads(count * self.task.substeps)
        # persistent: a frame goes on from the derived fields that the one before computed
        self.batch = Batch(self.task.model, count, threads, persistent=True)
        self.data = BoundFields(self.batch)
        self.model_fields = {n: self.batch.expand(n) for n in self.task.model_fields}
        self.streams = make_streams(None, count)
        self._pictures = Pictures()

    def shift(self, shifts: Sequence[Shift]) -> None:
        """Change physics, camera and colours of each simulator; before its first episode."""
        shift_physics(self.batch, shifts)

    def reseed(self, seed: int | Sequence[int | None] | None, chosen: Any = None) -> None:
        """New random streams, as `make_streams` makes them, for the `chosen` ([E] bool; all).

        Those whose seed in a list is None keep theirs.
        """
        chosen = np.ones(self.count, bool) if chosen is None else chosen
        self.streams = renewed(self.streams, make_streams(seed, self.count), seed, chosen)

    def frame(self, ids: np.ndarray | None) -> np.ndarray:
        """Advance some simulators (None: all) by one frame of `data.ctrl`.

        Returns [E] bool: which have warned since their episode began, or failed just now.
        """
        from mujoco.batch import SimulationError

        try:
            with quiet_mujoco():
                self.batch.step(ids, self.task.substeps, _VELOCITY_STAGE)
        except SimulationError as error:
            failed = self._warned()
            failed[error.ids] = True
            return failed
        return self._warned()

    def _warned(self) -> np.ndarray:
        """Which simulators have raised a warning since their reset, [E]."""
        return self.batch.warning[:, :, 1].any(axis=1)

    def start(self, ids: np.ndarray) -> None:
        """Draw the first states of new episodes for some simulators; no other is touched.

        Raises EnvError: MuJoCo failed, or no start without contacts was found.
        """
        from mujoco.batch import SimulationError

        try:
            self.batch.reset(ids, stage=_NO_STAGE)
            self._draw_starts(ids)
            if self.task.settle_steps:
                self.batch.step(ids, self.task.settle_steps)
                self.batch.bind("time")[ids] = 0.0
            self.batch.forward(ids)
        except SimulationError as error:
            raise EnvError(f"an episode could not begin: {error}") from error

    def _draw_starts(self, ids: np.ndarray) -> None:
        """Draw first states, again where the task wants none with contacts."""
        redraw = ids
        for _ in range(_MAX_REDRAWS):
            for index in redraw:
                self._draw_start(index)
            if not self.task.collision_free:
                return
            self.batch.forward(redraw, stage=_POSITION_STAGE)
            redraw = redraw[self.data.ncon[redraw] > 0]
            if not redraw.size:
                return
        raise EnvError(f"no start free of contacts in {_MAX_REDRAWS} draws")

    def _draw_start(self, index: int) -> None:
        """Draw the first state of one simulator from its own stream."""
        start = self.task.start(self.streams[index])
        self.data.qpos[index] = start.qpos
        self.data.qvel[index] = start.qvel
        if self.task.model.na:
            self.data.act[index] = self.task.held(start.qpos)
        if start.goal is not None:
            self.data.userdata[index] = start.goal
        for name, value in start.changes.items():
            self.model_fields[name][index] = value

    def place(self, qpos: np.ndarray, qvel: np.ndarray | float, goal: np.ndarray) -> None:
        """Begin everywhere at given configurations [E, nq], velocities [E, nv], goals [E, nq]."""
        self.batch.reset(stage=_NO_STAGE)
        self.data.qpos[:], self.data.qvel[:], self.data.userdata[:] = qpos, qvel, goal
        if self.task.model.na:
            self.data.act[:] = self.task.held(qpos)
        self.batch.forward()

    def get_state(self) -> dict[str, np.ndarray]:
        """Copies of everything that decides the future: physics, streams, model changes."""
        state = {"physics": self.batch.state.copy(), "streams": pack_streams(self.streams)}
        return state | {f"model/{n}": value.copy() for n, value in self.model_fields.items()}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Go back to what `get_state` gave; the arrays must have its shapes and types."""
        self.streams = unpack_streams(state["streams"])
        changes = [state[f"model/{name}"].reshape(self.count, -1) for name in self.model_fields]
        self.set_moments(np.concatenate([state["physics"], *changes], axis=1))

    def get_moments(self) -> np.ndarray:
        """Where each simulator is, as one row: physics and model changes, [E, K] float64."""
        changes = [value.reshape(self.count, -1) for value in self.model_fields.values()]
        return np.concatenate([self.batch.state, *changes], axis=1)

    def set_moments(self, moments: np.ndarray) -> None:
        """Put each simulator where a row of `get_moments` was; the random streams go on."""
        self.batch.reset(stage=_NO_STAGE)  # also clears the warning counters
        size = self.batch.state.shape[1]
        self.batch.state[:], rest = moments[:, :size], moments[:, size:]
        for values in self.model_fields.values():
            width = values[0].size
            values[:], rest = rest[:, :width].reshape(values.shape), rest[:, width:]

    def picture(self, index: int, height: int, width: int) -> np.ndarray:
        """One simulator from camera 0, uint8 [H, W, 3].

        Raises EnvError for too large a picture, or where OpenGL does not work.
        """
        model, data = self.batch.get_model(index), self.batch.get_data(index)
        engine().mj_forward(model, data)
        return self._pictures.take(model, data, height, width)

    def close(self) -> None:
        """Give OpenGL back, if a picture was taken."""
        self._pictures.close()


def _useful_threads(steps: int) -> int:
    """Threads that pay for themselves on calls of so many physics steps, within our cores."""
    return max(1, min(usable_cores(), steps // _STEPS_PER_THREAD))
