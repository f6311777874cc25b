"""Worlds that differ from the one a model was trained in, simulator by simulator.

A `Shift` says by how much: `mass=1.5 gravity=0.8 obs_delay=1`. What it leaves out stays exactly as
it was. Physics, camera and colours need native simulators (`shift_physics` here); noise and delays
work with every one (`envs.wrappers.disturb`).
"""

import colorsys
import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Annotated, Any, get_args, get_type_hints

import msgspec
import numpy as np
from msgspec import Meta

from envs.spec import EnvError

Factor = Annotated[float, Meta(ge=0, le=1000)]
Noise = Annotated[float, Meta(ge=0, le=1000)]
Late = Annotated[int, Meta(ge=0, le=1000)]
Turn = Annotated[float, Meta(ge=-360, le=360)]


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
                near = difflib.get_close_matches(key, keys, n=1, cutoff=0.0)[0]
                raise ShiftError(
                    f"shift {key!r} is unknown: did you mean {near}? keys: {', '.join(keys)}"
                )
            if not equals or key in values:
                raise ShiftError(f"shift {key}: expected {key}=NUMBER once, as in mass=1.5")
            values[key] = value
        return cls(**values)

    def __str__(self) -> str:
        """What `parse` reads: only what differs."""
        given = {s.name: getattr(self, s.name) for s in fields(self)}
        return " ".join(f"{k}={v!r}" for k, v in given.items() if v != getattr(_NONE, k))

    @property
    def physical(self) -> bool:
        """Whether physics, camera or colours differ."""
        return any(getattr(self, name) != getattr(_NONE, name) for name in _PHYSICAL)

    @property
    def disturbing(self) -> bool:
        """Whether observations or actions are noisy or late."""
        return any(getattr(self, name) != getattr(_NONE, name) for name in _DISTURBING)

    def without_disturbance(self) -> "Shift":
        """The same world, seen and driven without noise or delays."""
        return replace(self, **{name: getattr(_NONE, name) for name in _DISTURBING})


_DISTURBING = ("obs_noise", "action_noise", "obs_delay", "action_delay")
_PHYSICAL = tuple(spec.name for spec in fields(Shift) if spec.name not in _DISTURBING)


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


_NONE = Shift()
_DEFAULT_RGBA = (0.5, 0.5, 0.5, 1.0)  # of a geom: the colour of its material is shown


def as_shifts(shift: "Shift | str | Sequence[Shift | str] | None", count: int) -> list[Shift]:
    """One shift for each of `count` simulators. Raises ShiftError."""
    if shift is None or isinstance(shift, str | Shift):
        shift = [shift or _NONE] * count
    if len(shift) != count:
        raise ShiftError(f"{len(shift)} shifts for {count} simulators; expected one each")
    return [s if isinstance(s, Shift) else Shift.parse(s) for s in shift]


def shift_physics(batch: Any, shifts: Sequence[Shift]) -> None:
    """Give each simulator of a MuJoCo batch the physics, camera and colours of its shift."""
    _scale(batch, ("body_mass", "body_inertia"), [s.mass for s in shifts])
    _scale(batch, ("geom_friction", "dof_frictionloss"), [s.friction for s in shifts])
    _scale(batch, ("dof_damping", "dof_dampingpoly"), [s.damping for s in shifts])
    _scale(batch, ("actuator_gainprm",), [s.gain for s in shifts])
    for index, shift in enumerate(shifts):
        if (shift.gravity, shift.tilt) != (1.0, 0.0):
            set_gravity(batch, index, shift.gravity, shift.tilt)
        if shift.color:
            turn_hue(batch, index, shift.color)
        if (shift.camera, shift.roll) != (0.0, 0.0) and batch.model.ncam:
            place, turn = batch.expand("cam_pos"), batch.expand("cam_quat")
            _move(batch.model, place[index, 0], turn[index, 0], shift)
    if any((s.mass, s.camera, s.roll) != (1.0, 0.0, 0.0) for s in shifts):
        batch.set_const()


def _scale(batch: Any, names: Sequence[str], factors: Sequence[float]) -> None:
    if all(factor == 1.0 for factor in factors):
        return
    for name in names:
        values = batch.expand(name)
        values *= np.reshape(factors, (-1,) + (1,) * (values.ndim - 1))


def set_gravity(batch: Any, index: int, factor: float, tilt: float) -> None:
    """Gravity of one simulator: `factor` times the model's, leaning `tilt` degrees towards +x."""
    x, y, z = batch.model.opt.gravity * factor
    cos, sin = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))
    batch.expand("opt.gravity")[index] = x * cos - z * sin, y, x * sin + z * cos


def shift_looks(model: Any, shift: Shift) -> None:
    """Give a compiled model the camera and colours of a shift, in place."""
    from envs.tasks.engine import engine

    if shift.color:
        _turn_colors(model, model.geom_rgba, shift.color)
    if (shift.camera, shift.roll) != (0.0, 0.0) and model.ncam:
        _move(model, model.cam_pos[0], model.cam_quat[0], shift)
        engine().mj_setConst(model, engine().MjData(model))


def turn_hue(batch: Any, index: int, turn: float) -> None:
    """Turn the hue of the moving parts of one simulator by a share of the colour circle."""
    _turn_colors(batch.model, batch.expand("geom_rgba")[index], turn)


def _turn_colors(model: Any, colors: np.ndarray, turn: float) -> None:
    """The same in an array of colours [ngeom, 4]."""
    for geom in moving_geoms(model):
        color, material = colors[geom], model.geom_matid[geom]
        if material >= 0 and tuple(color) == _DEFAULT_RGBA:
            color = model.mat_rgba[material]
        hue, saturation, value = colorsys.rgb_to_hsv(*(float(c) for c in color[:3]))
        turned = colorsys.hsv_to_rgb((hue + turn) % 1.0, saturation, value)
        colors[geom] = *turned, color[3]


def moving_geoms(model: Any) -> np.ndarray:
    """Ids of the geoms of bodies that can move."""
    return np.flatnonzero(model.body_weldid[model.geom_bodyid] != 0)


def _move(model: Any, place: np.ndarray, turn: np.ndarray, shift: Shift) -> None:
    """Move a camera at `place` [3], turned by `turn` [4], to its right and about its sight."""
    from envs.tasks.engine import engine

    mujoco, half = engine(), math.radians(shift.roll) / 2
    right = np.zeros(3)
    mujoco.mju_rotVecQuat(right, np.array([1.0, 0.0, 0.0]), turn)
    place += shift.camera * _view_width(model) * right
    turned, rolling = np.zeros(4), np.array([math.cos(half), 0.0, 0.0, math.sin(half)])
    mujoco.mju_mulQuat(turned, turn.copy(), rolling)
    turn[:] = turned


def _view_width(model: Any) -> float:
    """About how many metres of the scene camera 0 sees from side to side."""
    if model.cam_projection[0]:  # orthographic: fovy is a length
        return float(model.cam_fovy[0])
    away = float(np.linalg.norm(model.cam_pos[0] - model.stat.center))
    return 2 * away * math.tan(math.radians(float(model.cam_fovy[0])) / 2)
