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

FORMAT = 1
OBS_DTYPES = ("float32", "float64")


class ContractError(CheckpointError):
    """A contract that cannot be used; shown as one line that names the field."""


@dataclass(frozen=True)
class ObsSchema:
    """What an observation has to be."""

    names: tuple[tuple[str, int], ...]
    """(name, size) of its parts, in order."""
    shape: tuple[int, ...]
    dtype: str = "float32"
    """What the model computes in; observations may come in any of `OBS_DTYPES`."""
    low: tuple[float | None, ...] = ()
    """Least value of each entry that is believed; None where none is known; () for no bounds."""
    high: tuple[float | None, ...] = ()

    def __post_init__(self):
        """Reject schemas no observation could meet. Raises ContractError naming the field."""
        if len(self.shape) != 1 or self.shape[0] < 1:
            raise ContractError(f"obs.shape must be one positive size, got {list(self.shape)}")
        if self.dtype != "float32":
            raise ContractError(f"obs.dtype must be float32, got {self.dtype!r}")
        if sum(size for _, size in self.names) != self.shape[0]:
            raise ContractError(f"obs.names must add up to {self.shape[0]}, got {self.names}")
        _check_bounds("obs", self.low, self.high, self.shape[0])


@dataclass(frozen=True)
class ActionLimits:
    """What an action will be."""

    low: tuple[float, ...]
    high: tuple[float, ...]
    safe: tuple[float, ...] = ()
    """What a stopped controller answers; () is zero, as far as the limits allow."""
    rate: tuple[float | None, ...] = ()
    """Most change of each entry a second; None or () for no limit."""
    names: tuple[str, ...] = ()

    def __post_init__(self):
        """Reject empty limits and unsafe stops. Raises ContractError naming the field."""
        if not self.low:
            raise ContractError("action.low must have an entry for each dimension, got none")
        _check_bounds("action", self.low, self.high, len(self.low))
        for name in ("safe", "rate", "names"):
            if (given := getattr(self, name)) and len(given) != len(self.low):
                raise ContractError(
                    f"action.{name} must have {len(self.low)} entries, got {len(given)}"
                )
        for i, (low, high) in enumerate(zip(self.low, self.high, strict=True)):
            if self.safe and not low <= self.safe[i] <= high:
                raise ContractError(
                    f"action.safe[{i}] must lie in [{low}, {high}], got {self.safe[i]}"
                )
            if self.rate and self.rate[i] is not None and not _positive(self.rate[i]):
                raise ContractError(f"action.rate[{i}] must be positive, got {self.rate[i]}")

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
        if not _positive(self.threshold):
            raise ContractError(f"surprise.threshold must be positive, got {self.threshold}")


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
    created: str = ""
    """Day (ISO) the contract was written."""
    expires: str = ""
    """Day (ISO) until which exported programs are guaranteed to load; "" where there are none."""
    format: int = FORMAT

    def __post_init__(self):
        """Reject what no controller could keep. Raises ContractError naming the field."""
        if self.format != FORMAT:
            raise ContractError(f"format must be {FORMAT}, got {self.format}: another version's")
        for name in ("control_dt", "max_obs_age"):
            if not _positive(getattr(self, name)):
                raise ContractError(f"{name} must be positive, got {getattr(self, name)}")
        if self.action_repeat < 1:
            raise ContractError(f"action_repeat must be at least 1, got {self.action_repeat}")
        for name in ("params_digest", "config_digest"):
            if not re.fullmatch(r"[0-9a-f]{64}", getattr(self, name)):
                raise ContractError(f"{name} must be a SHA-256 in hex, got {getattr(self, name)!r}")
        for name in ("created", "expires"):
            if (text := getattr(self, name)) and not _is_day(text):
                raise ContractError(f"{name} must be a day like 2026-01-31, got {text!r}")

    @property
    def period(self) -> float:
        """Seconds between decisions."""
        return self.control_dt * self.action_repeat

    def to_json(self) -> dict[str, Any]:
        """The contract as a dict that `json.dumps` accepts."""
        return json.loads(json.dumps(asdict(self), allow_nan=False))

    @classmethod
    def from_json(cls, data: Any, where: str = "contract.json") -> "Contract":
        """The contract that `to_json` wrote. Raises ContractError naming `where` and the field."""
        try:
            if isinstance(data, Mapping) and data.get("format", FORMAT) != FORMAT:
                raise ContractError(f"format must be {FORMAT}, got {data['format']!r}")
            _check_names(cls, data)
            return msgspec.convert(data, cls)
        except msgspec.ValidationError as error:
            if isinstance(error.__cause__, ContractError):
                raise ContractError(f"{where}: {error.__cause__}") from None
            raise ContractError(f"{where}: {_said(error)}") from None
        except ContractError as error:
            raise ContractError(f"{where}: {error}") from None


def _check_bounds(what: str, low: tuple, high: tuple, size: int) -> None:
    """Raises ContractError unless low < high, finite where given."""
    for name, bound in (("low", low), ("high", high)):
        if bound and len(bound) != size:
            raise ContractError(f"{what}.{name} must have {size} entries, got {len(bound)}")
        for i, value in enumerate(bound):
            if value is not None and not math.isfinite(value):
                raise ContractError(f"{what}.{name}[{i}] must be finite, got {value}")
    for i, (a, b) in enumerate(zip(low, high, strict=False)):
        if a is not None and b is not None and not a < b:
            raise ContractError(f"{what}.low[{i}] must be below {what}.high[{i}], got {a} and {b}")


def _check_names(cls: type, data: Any, prefix: str = "") -> None:
    """Raises ContractError for a table with keys that `cls` has not."""
    if not isinstance(data, Mapping):
        raise ContractError(f"{prefix.rstrip('.') or 'the contract'} must be a table, got {data!r}")
    known = {f.name for f in fields(cls)}
    if strange := sorted(str(key) for key in data.keys() - known):
        raise ContractError(f"unknown field {prefix}{strange[0]}; expected {sorted(known)}")
    nested = {"obs": ObsSchema, "action": ActionLimits, "surprise": Surprise}
    for name, kind in nested.items():
        if cls is Contract and data.get(name) is not None:
            _check_names(kind, data[name], f"{name}.")


def _said(error: msgspec.ValidationError) -> str:
    """What msgspec found, with the field in front."""
    text, _, path = str(error).partition(" - at `$")
    place = path.rstrip("`").lstrip(".")
    return f"{place}: {text}" if place else text


def _positive(value: float | None) -> bool:
    return value is not None and math.isfinite(value) and value > 0


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
