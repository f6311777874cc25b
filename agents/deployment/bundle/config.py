"""Settings of an export. Imports no jax."""

import math
from dataclasses import dataclass, field
from typing import Annotated

from agents.runs.bounds import Meta, Settings, shown
from agents.runs.config import ConfigError, PlannerOverrides

LIMITS = ("low", "high", "rate", "safe")


@dataclass(frozen=True)
class ExportConfig(Settings):
    """Settings of one export."""

    path: str = ""
    """Run directory or checkpoint to export."""
    out: str = ""
    """New folder for the bundle."""
    calibration_episodes: Annotated[int, Meta(ge=0, le=10_000)] = 10
    """Held-out episodes (of each of three kinds) that the limits of observations and the
    threshold of surprise come from; 0 leaves both unknown."""
    planner: PlannerOverrides = field(default_factory=PlannerOverrides)
    action_low: str = ""
    """Limits of the robot that a simulator has not: numbers by comma, one for each action or one
    for all. Least action, in [-1, 1]; "" leaves the trained one."""
    action_high: str = ""
    """Greatest action, likewise."""
    action_rate: str = ""
    """Greatest change of each action a second, likewise; "" for no limit."""
    action_safe: str = ""
    """Action of a stopped controller, likewise; "" is zero."""

    def __post_init__(self):
        """Reject impossible values. Raises ConfigError naming the field."""
        super().__post_init__()
        for name in LIMITS:
            self._numbers(name)

    def limits(self, dim: int) -> dict[str, tuple[float, ...]]:
        """The limits that are given, for `dim` actions. Raises ConfigError for another number."""
        given = {name: self._numbers(name) for name in LIMITS}
        for name, numbers in given.items():
            if len(numbers) not in (0, 1, dim):
                raise ConfigError(
                    f"action_{name} must have {dim} numbers or one, got {len(numbers)}"
                )
        return {k: x * (dim // len(x)) for k, x in given.items() if x}

    def _numbers(self, limit: str) -> tuple[float, ...]:
        name = f"action_{limit}"
        text = getattr(self, name)
        try:
            found = tuple(float(part) for part in text.split(",")) if text.strip() else ()
        except ValueError:
            found = (math.nan,)
        if not all(abs(number) <= 1e6 for number in found):
            raise ConfigError(f"{name} must be numbers by comma, as 0.5,1, got {shown(text)}")
        if limit in ("low", "high") and any(abs(x) > 1 for x in found):
            raise ConfigError(f"{name} must lie in [-1, 1], got {text!r}")
        return found
