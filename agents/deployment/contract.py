"""The contract of a controller: what it may be given and what it may answer, in plain data.

A contract travels with a bundle as `contract.json`. It says everything that a guard has to know
(schemas, limits, times), where the parameters came from (digests, versions, training) and how to
build the networks again (`settings`, `spec`). Imports no jax.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import date
from typing import Any

import msgspec

from agents.storage.files import CheckpointError
from envs.spec import Actuator, Joint, Robot

FORMAT = 1
OBS_DTYPES = ("float32", "float64")


class ContractError(CheckpointError):
    """A contract that cannot be used; shown as one line that names the field."""


@dataclass(frozen=True)
class ObsSchema:
    """The form of an observation."""

    names: tuple[tuple[str, int], ...]
    """(name, size) of its parts, in order."""
    shape: tuple[int, ...]
    dtype: str = "float32"
    """Type the model computes in; observations may come in any of `OBS_DTYPES`."""
    low: tuple[float | None, ...] = ()
    """Least value of each entry that is believed; None where none is known; () for no bounds."""
    high: tuple[float | None, ...] = ()

    def __post_init__(self):
        """Reject schemas no observation could meet. Raises ContractError naming the field."""
        one = len(self.shape) == 1 and self.shape[0] >= 1
        _require(one, "obs.shape", "be one positive size", list(self.shape))
        _require(self.dtype == "float32", "obs.dtype", "be float32", repr(self.dtype))
        total = sum(size for _, size in self.names)
        _require(total == self.shape[0], "obs.names", f"add up to {self.shape[0]}", self.names)
        _check_bounds("obs", self.low, self.high, self.shape[0])


@dataclass(frozen=True)
class ActionLimits:
    """Limits of an action."""

    low: tuple[float, ...]
    high: tuple[float, ...]
    safe: tuple[float, ...] = ()
    """Action of a stopped controller; () is zero, as far as the limits allow."""
    rate: tuple[float | None, ...] = ()
    """Most change of each entry a second; None or () for no limit."""
    names: tuple[str, ...] = ()

    def __post_init__(self):
        """Reject empty limits and unsafe stops. Raises ContractError naming the field."""
        _require(bool(self.low), "action.low", "have an entry for each dimension", "none")
        _check_bounds("action", self.low, self.high, self.dim)
        for name in ("safe", "rate", "names"):
            size = len(getattr(self, name))
            _require(size in (0, self.dim), f"action.{name}", f"have {self.dim} entries", size)
        for i, safe in enumerate(self.safe):
            low, high = self.low[i], self.high[i]
            _require(low <= safe <= high, f"action.safe[{i}]", f"lie in [{low}, {high}]", safe)
        for i, rate in enumerate(self.rate):
            _require(rate is None or _positive(rate), f"action.rate[{i}]", "be positive", rate)

    @property
    def dim(self) -> int:
        """Size A of an action."""
        return len(self.low)


@dataclass(frozen=True)
class Surprise:
    """Latent surprise that nominal operation stays under, and how that was found."""

    threshold: float
    quantile: float
    margin: float
    episodes: int
    seed: int
    """First seed of the held-out episodes."""
    typical: float
    """Median over those episodes."""

    def __post_init__(self):
        """Reject a threshold that says nothing. Raises ContractError."""
        _require(_positive(self.threshold), "surprise.threshold", "be positive", self.threshold)


@dataclass(frozen=True)
class Contract:
    """Everything a controller promises and expects."""

    env_id: str
    obs: ObsSchema
    action: ActionLimits
    control_dt: float
    """Seconds of one frame."""
    action_repeat: int
    """Frames per decision."""
    max_obs_age: float
    """Seconds after which an observation is stale."""
    params_digest: str
    """SHA-256 of the parameters (`params_digest`)."""
    config_digest: str
    """SHA-256 of the settings that decided the training."""
    settings: dict[str, Any]
    """The training's settings: with `spec`, enough to build the networks."""
    spec: dict[str, Any]
    """The environment's, as `EnvSpec.to_json` writes it."""
    versions: dict[str, str]
    """Of the packages it was made with."""
    training: dict[str, Any] = field(default_factory=dict)
    """How it was trained and what it reached, for people."""
    surprise: Surprise | None = None
    robot: Robot | None = None
    """Names, units and ranges of joints and actuators; None where they are not known."""
    created: str = ""
    """Day (ISO) the contract was written."""
    expires: str = ""
    """Day (ISO) until which exported programs are guaranteed to load; "" where there are none."""
    format: int = FORMAT

    def __post_init__(self):
        """Reject what no controller could keep. Raises ContractError naming the field."""
        _require(
            self.format == FORMAT, "format", f"be {FORMAT}", f"{self.format}: another version's"
        )
        for name in ("control_dt", "max_obs_age"):
            _require(_positive(getattr(self, name)), name, "be positive", getattr(self, name))
        _require(self.action_repeat >= 1, "action_repeat", "be at least 1", self.action_repeat)
        if self.robot is not None:
            known = len(self.robot.actuators) == self.action.dim
            _require(known, "robot.actuators", f"have {self.action.dim} entries", "another number")
        for name in ("params_digest", "config_digest"):
            text = getattr(self, name)
            known = re.fullmatch(r"[0-9a-f]{64}", text) is not None
            _require(known, name, "be a SHA-256 in hex", repr(text))
        for name in ("created", "expires"):
            text = getattr(self, name)
            _require(not text or _is_day(text), name, "be a day like 2026-01-31", repr(text))

    @property
    def period(self) -> float:
        """Seconds between decisions."""
        return self.control_dt * self.action_repeat

    def mismatch(self, stated: Mapping[str, Any]) -> str:
        """Why a robot that states this of itself is not the one of the contract; "" if it may be.

        `stated`: `actuators`, `units` and `joints` (lists of text) and `rate_hz`, each optional.
        """
        rate, count = stated.get("rate_hz"), len(stated.get("actuators", self.action.low))
        if rate is not None and not math.isclose(rate * self.period, 1, rel_tol=1e-3):
            return f"it runs at {rate:g} Hz, expected {1 / self.period:g} Hz"
        if self.robot is not None:
            return self.robot.difference(stated)
        wrong = count != self.action.dim
        return f"it has {count} actuators, expected {self.action.dim}" if wrong else ""

    def to_json(self) -> dict[str, Any]:
        """The contract as a dict that `json.dumps` accepts."""
        return json.loads(json.dumps(asdict(self), allow_nan=False))

    @classmethod
    def from_json(cls, data: Any, where: str = "contract.json") -> "Contract":
        """The contract that `to_json` wrote. Raises ContractError naming `where` and the field."""
        try:
            _check_names(cls, data)
            given = data.get("format", FORMAT)
            _require(given == FORMAT, "format", f"be {FORMAT}", repr(given))
            return msgspec.convert(data, cls)
        except msgspec.ValidationError as error:
            text, _, place = str(error).partition(" - at `$")
            place = place.strip("`.")
            said = error.__cause__ or (f"{place}: {text}" if place else text)
            raise ContractError(f"{where}: {said}") from None
        except ContractError as error:
            raise ContractError(f"{where}: {error}") from None


def _require(holds: bool, name: str, wanted: str, got: Any) -> None:
    """Raises ContractError naming the field unless something holds of it."""
    if not holds:
        raise ContractError(f"{name} must {wanted}, got {got}")


def _check_bounds(what: str, low: tuple, high: tuple, size: int) -> None:
    """Raises ContractError unless low < high, finite where given."""
    for name, bound in (("low", low), ("high", high)):
        right = len(bound) in (0, size)
        _require(right, f"{what}.{name}", f"have {size} entries", len(bound))
        for i, value in enumerate(bound):
            known = value is None or math.isfinite(value)
            _require(known, f"{what}.{name}[{i}]", "be finite", value)
    for i, (a, b) in enumerate(zip(low, high, strict=False)):
        below = a is None or b is None or a < b
        _require(below, f"{what}.low[{i}]", f"be below {what}.high[{i}]", f"{a} and {b}")


def _check_names(cls: type, data: Any, prefix: str = "") -> None:
    """Raises ContractError for a table with keys that `cls` has not."""
    if not isinstance(data, Mapping):
        raise ContractError(f"{prefix.rstrip('.') or 'the contract'} must be a table, got {data!r}")
    known = {f.name for f in fields(cls)}
    if strange := sorted(str(key) for key in data.keys() - known):
        raise ContractError(f"unknown field {prefix}{strange[0]}; expected {sorted(known)}")
    if cls is Contract:
        for name, kind in INSIDE.items():
            if data.get(name) is not None:
                _check_names(kind, data[name], f"{name}.")
    if cls is Robot:
        for name, kind in (("actuators", Actuator), ("joints", Joint)):
            items = data.get(name, [])
            for at, item in enumerate(items if isinstance(items, list) else []):
                _check_names(kind, item, f"{prefix}{name}[{at}].")


INSIDE = {"obs": ObsSchema, "action": ActionLimits, "surprise": Surprise, "robot": Robot}


def _positive(value: float | None) -> bool:
    return value is not None and math.isfinite(value) and value > 0


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
