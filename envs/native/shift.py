"""Worlds that differ from the one a model was trained in, simulator by simulator.

A `Shift` says by how much: `mass=1.5 gravity=0.8 obs_delay=1`. What it leaves out stays exactly as
it was. Physics, camera and colours need native simulators (`shift_physics` here); noise and delays
work with every one (`envs.wrappers.disturb`).
"""

import colorsys
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Annotated, Any, get_args, get_type_hints

import msgspec
import numpy as np
from msgspec import Meta

from envs.spec import EnvError, nearest
from envs.tasks.engine import engine

Factor = Annotated[float, Meta(ge=0, le=1000)]
Noise = Annotated[float, Meta(ge=0, le=1000)]
Late = Annotated[int, Meta(ge=0, le=1000)]
Turn = Annotated[float, Meta(ge=-360, le=360)]
_DISTURBING = {"obs_noise", "action_noise", "obs_delay", "action_delay"}
_DEFAULT_RGBA = (0.5, 0.5, 0.5, 1.0)  # of a geom: the colour of its material is shown


class ShiftError(EnvError):
    """A shift that cannot be: unknown key, bad value."""

    exit_code = 2


@dataclass(frozen=True)
class Shift:
    """Differences from the usual world; the defaults are none."""

    mass: Annotated[float, Meta(ge=1e-3, le=1000)] = 1.0
    """Factor on every mass and inertia."""
    friction: Factor = 1.0
    """Factor on contact friction and on dry friction in joints."""
    damping: Factor = 1.0
    """Factor on viscous friction in joints."""
    gravity: Annotated[float, Meta(ge=-100, le=100)] = 1.0
    """Factor on gravity; flat worlds, which have no weight to carry, do not feel it: `tilt`."""
    tilt: Turn = 0.0
    """Degrees by which the world leans, so that things fall towards +x."""
    gain: Annotated[float, Meta(ge=-1000, le=1000)] = 1.0
    """Factor on what actuators make of an action."""
    obs_noise: Noise = 0.0
    """Standard deviation of noise on every entry of an observation."""
    action_noise: Noise = 0.0
    """Standard deviation of noise on every entry of an action."""
    obs_delay: Late = 0
    """Decisions by which observations are late."""
    action_delay: Late = 0
    """Decisions by which actions are late."""
    camera: Annotated[float, Meta(ge=-10, le=10)] = 0.0
    """How far the camera moves to its right, as a share of what it sees."""
    roll: Turn = 0.0
    """Degrees by which the camera turns about its line of sight."""
    color: Annotated[float, Meta(ge=-10, le=10)] = 0.0
    """Turn of the hue of everything that moves, as a share of the colour circle."""

    def __post_init__(self) -> None:
        """Raises ShiftError for values that no world has."""
        for name, kind in _kinds().items():
            object.__setattr__(self, name, _checked(name, getattr(self, name), kind))

    @classmethod
    def parse(cls, text: str) -> "Shift":
        """The shift that `KEY=VALUE KEY=VALUE ...` describes; an empty text is none.

        Raises:
            ShiftError: naming the key that is unknown, given twice, or has a bad value.
        """
        values: dict[str, Any] = {}
        keys = [spec.name for spec in fields(cls)]
        for part in text.replace(",", " ").split():
            key, equals, value = part.partition("=")
            if key not in keys:
                raise ShiftError(
                    f"shift {key!r} is unknown: did you mean {nearest(key, keys)}? "
                    f"keys: {', '.join(keys)}"
                )
            if not equals or key in values:
                raise ShiftError(f"shift {key}: expected {key}=NUMBER once, as in mass=1.5")
            values[key] = value
        return cls(**values)

    def __str__(self) -> str:
        """What `parse` reads: only what differs."""
        return " ".join(f"{key}={value!r}" for key, value in self.changed.items())

    @property
    def changed(self) -> dict[str, float | int]:
        """What differs from the usual world."""
        mine = {spec.name: getattr(self, spec.name) for spec in fields(self)}
        return {key: value for key, value in mine.items() if value != getattr(Shift, key)}

    @property
    def physical(self) -> bool:
        """Whether physics, camera or colours differ."""
        return not self.changed.keys() <= _DISTURBING

    @property
    def disturbing(self) -> bool:
        """Whether observations or actions are noisy or late."""
        return bool(self.changed.keys() & _DISTURBING)

    def without_disturbance(self) -> "Shift":
        """The same world, seen and driven without noise or delays."""
        return Shift(**{k: v for k, v in self.changed.items() if k not in _DISTURBING})  # pyright: ignore[reportArgumentType]


@cache
def _kinds() -> dict[str, Any]:
    return get_type_hints(Shift, include_extras=True)


def _checked(name: str, value: Any, kind: Any) -> float | int:
    """The value of a field, or the text of one, in its type. Raises ShiftError; NaN is in none."""
    plain, meta = get_args(kind)
    number, wanted = value, "be an integer" if plain is int else "be a number"
    try:
        number = plain(value) if isinstance(value, str) else value
        number = number.item() if isinstance(number, np.generic) else number
        return msgspec.convert(number, kind)
    except (ValueError, msgspec.ValidationError) as error:
        if not isinstance(number, str) and ", got" not in str(error):
            wanted = f"lie in [{meta.ge}, {meta.le}]"
        raise ShiftError(f"shift {name} must {wanted}, got {number!r:.80}") from None


def as_shifts(shift: "Shift | str | Sequence[Shift | str] | None", count: int) -> list[Shift]:
    """One shift for each of `count` simulators. Raises ShiftError."""
    if shift is None or isinstance(shift, str | Shift):
        shift = [shift or ""] * count
    if len(shift) != count:
        raise ShiftError(f"{len(shift)} shifts for {count} simulators; expected one each")
    return [s if isinstance(s, Shift) else Shift.parse(s) for s in shift]


_SCALED = {
    "mass": ("body_mass", "body_inertia"),
    "friction": ("geom_friction", "dof_frictionloss"),
    "damping": ("dof_damping", "dof_dampingpoly"),
    "gain": ("actuator_gainprm",),
}
"""Model fields that are multiplied by a factor."""


def shift_physics(batch: Any, shifts: Sequence[Shift]) -> None:
    """Give each simulator of a MuJoCo batch the physics, camera and colours of its shift."""
    for name, scaled in _SCALED.items():
        factors = np.array([getattr(shift, name) for shift in shifts])
        for field in scaled if (factors != 1.0).any() else ():
            values = batch.expand(field)
            values *= factors.reshape(-1, *[1] * (values.ndim - 1))
    for index, shift in enumerate(shifts):
        if (shift.gravity, shift.tilt) != (1.0, 0.0):
            batch.expand("opt.gravity")[index] = _gravity(batch.model, shift)
        _change_looks(batch.model, shift, lambda name, i=index: batch.expand(name)[i])
    if any((s.mass, s.camera, s.roll) != (1.0, 0.0, 0.0) for s in shifts):
        batch.set_const()


def shift_looks(model: Any, shift: Shift) -> None:
    """Give a compiled model the camera and colours of a shift, in place."""
    _change_looks(model, shift, lambda name: getattr(model, name))
    if (shift.camera, shift.roll) != (0.0, 0.0) and model.ncam:
        engine().mj_setConst(model, engine().MjData(model))


def _gravity(model: Any, shift: Shift) -> tuple[float, float, float]:
    """A multiple of the model's gravity, leaning towards +x."""
    x, y, z = model.opt.gravity * shift.gravity
    cos, sin = math.cos(math.radians(shift.tilt)), math.sin(math.radians(shift.tilt))
    return x * cos - z * sin, y, x * sin + z * cos


def _change_looks(model: Any, shift: Shift, field: Callable[[str], np.ndarray]) -> None:
    """Turn hues and move camera 0 in `field(name)`, arrays of one simulator to write in."""
    if shift.color:
        _turn_colors(model, field("geom_rgba"), shift.color)
    if (shift.camera, shift.roll) != (0.0, 0.0) and model.ncam:
        _move(model, field("cam_pos")[0], field("cam_quat")[0], shift)


def _turn_colors(model: Any, colors: np.ndarray, turn: float) -> None:
    """Turn the hue of what moves in colours [ngeom, 4] by a share of the colour circle."""
    for geom in np.flatnonzero(model.body_weldid[model.geom_bodyid]):
        color, material = colors[geom], model.geom_matid[geom]
        if material >= 0 and tuple(color) == _DEFAULT_RGBA:
            color = model.mat_rgba[material]
        hue, saturation, value = colorsys.rgb_to_hsv(*(float(c) for c in color[:3]))
        turned = colorsys.hsv_to_rgb((hue + turn) % 1.0, saturation, value)
        colors[geom] = *turned, color[3]


def _move(model: Any, place: np.ndarray, turn: np.ndarray, shift: Shift) -> None:
    """Move a camera at `place` [3], turned by `turn` [4], to its right and about its sight."""
    mujoco, half = engine(), math.radians(shift.roll) / 2
    right = np.zeros(3)
    mujoco.mju_rotVecQuat(right, np.array([1.0, 0.0, 0.0]), turn)
    place += shift.camera * _view_width(model) * right
    rolling = np.array([math.cos(half), 0.0, 0.0, math.sin(half)])
    mujoco.mju_mulQuat(turn, turn.copy(), rolling)


def _view_width(model: Any) -> float:
    """About how many metres of the scene camera 0 sees from side to side."""
    if model.cam_projection[0]:  # orthographic: fovy is a length
        return float(model.cam_fovy[0])
    away = float(np.linalg.norm(model.cam_pos[0] - model.stat.center))
    return 2 * away * math.tan(math.radians(float(model.cam_fovy[0])) / 2)
