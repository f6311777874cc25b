"""What a model of the world should be surprised by: events done to one simulator between two steps.

    stage = Stage(env)
    stage.apply("teleport", 3, rng)   # the next step of simulator 3 starts from elsewhere
    stage.restore(3)                  # the world is as it was made (the state stays)

Changes of model fields last until `restore`, over episodes too, and are no part of the
environment's saved state. `color` is the control: it changes pictures and breaks no physics.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from envs.native.shift import moving_geoms, set_gravity, turn_hue
from envs.spec import EnvError
from envs.tasks import GoalTask
from envs.tasks.goals.planar import OCCLUDER

VIOLATIONS = ("teleport", "reverse", "vanish", "mass", "gravity")
CONTROLS = ("color",)


class Stage:
    """Events on the simulators of a native environment, and the way back.

    Raises:
        EnvError: the environment is not native.
    """

    def __init__(self, env: Any) -> None:
        simulators: Any = getattr(env, "simulators", None)
        if not hasattr(simulators, "batch"):
            raise EnvError(f"events need a native environment, got {type(env).__name__}")
        self._task: Any = simulators.task
        self._batch, self._data = simulators.batch, simulators.data
        self._usual: dict[str, np.ndarray] = {}
        self._events: dict[str, Callable[[int, np.random.Generator], None]] = {
            "teleport": self.teleport,
            "reverse": lambda index, rng: self.reverse(index),
            "vanish": lambda index, rng: self.vanish(index),
            "mass": lambda index, rng: self.change_mass(index),
            "gravity": lambda index, rng: self.change_gravity(index),
            "color": lambda index, rng: self.change_color(index),
        }

    @property
    def names(self) -> tuple[str, ...]:
        """The events that `apply` knows."""
        return tuple(self._events)

    def apply(self, event: str, index: int, rng: np.random.Generator) -> None:
        """Do the event of this name, at its usual strength. Raises EnvError for another name."""
        if event not in self._events:
            raise EnvError(f"unknown event {event!r}; expected one of {', '.join(self._events)}")
        self._events[event](index, rng)

    def teleport(self, index: int, rng: np.random.Generator) -> None:
        """Put what moves somewhere else; it keeps its velocity."""
        here = self._data.qpos[index].copy()
        if isinstance(self._task, GoalTask):
            place = self._task.elsewhere(rng, here)
        else:
            place = self._task.start(rng).qpos
        self._data.qpos[index] = place
        self._batch.forward([index])

    def reverse(self, index: int) -> None:
        """Turn every velocity around."""
        self._data.qvel[index] *= -1.0
        self._batch.forward([index])

    def change_mass(self, index: int, factor: float = 4.0) -> None:
        """Make what moves heavier or lighter."""
        for name in ("body_mass", "body_inertia"):
            self._field(name)[index] *= factor
        self._batch.set_const([index])
        self._batch.forward([index])

    def change_gravity(self, index: int, factor: float = 1.0, tilt: float = 15.0) -> None:
        """Scale gravity, and let the world lean by `tilt` degrees (flat worlds feel only that)."""
        self._field("opt.gravity")
        set_gravity(self._batch, index, factor, tilt)
        self._batch.forward([index])

    def change_color(self, index: int, turn: float = 0.4) -> None:
        """Turn the hue of what moves by a share of the colour circle."""
        self._field("geom_rgba")
        turn_hue(self._batch, index, turn)

    def occlude(self, index: int, middle: np.ndarray, half: float) -> None:
        """Hold a square plate over a place [2] of the picture, `half` its side in metres.

        Raises:
            EnvError: the task's world has no plate.
        """
        plate = self._plate()
        self._field("geom_pos")[index, plate, :2] = middle
        self._field("geom_size")[index, plate, :2] = half
        self._field("geom_rgba")[index, plate, 3] = 1.0

    def lift(self, index: int) -> None:
        """Take the plate away again."""
        self._field("geom_rgba")[index, self._plate(), 3] = 0.0

    def vanish(self, index: int) -> None:
        """Take what has its middle under the plate out of every picture, not of observations.

        Raises:
            EnvError: the plate covers nothing that moves.
        """
        plate, colors = self._plate(), self._field("geom_rgba")
        middle = self._field("geom_pos")[index, plate, :2]
        half = self._field("geom_size")[index, plate, 0]
        places = self._batch.get_data(index).geom_xpos[:, :2]
        hidden = np.abs(places - middle).max(axis=1) <= half
        gone = [geom for geom in moving_geoms(self._batch.model) if hidden[geom]]
        if not gone or colors[index, plate, 3] == 0.0:
            raise EnvError(f"nothing is behind the occluder of simulator {index}; occlude() first")
        colors[index, gone, 3] = 0.0

    def restore(self, index: int) -> None:
        """Give the simulator the world it was made with; its state stays."""
        for name, usual in self._usual.items():
            self._field(name)[index] = usual[index]
        if "body_mass" in self._usual:
            self._batch.set_const([index])
        self._batch.forward([index])

    def _field(self, name: str) -> np.ndarray:
        """A model field [E, ...] to write in, remembered as it was first."""
        values = self._batch.expand(name)
        if name not in self._usual:
            self._usual[name] = values.copy()
        return values

    def _plate(self) -> int:
        model = self._batch.model
        for geom in range(model.ngeom):
            if model.geom(geom).name == OCCLUDER:
                return geom
        raise EnvError(f"the world of {type(self._task).__name__} has no occluder")
