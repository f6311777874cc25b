"""Settings of a controller's guard, and of what stored files may run. Imports no jax."""

from dataclasses import dataclass, field
from typing import Literal

from agents.runs.bounds import Count, Settings, Weight
from agents.runs.config import ConfigError

Fallback = Literal["zero", "prior", "safe"]
Reaction = Literal["off", "report", "fallback", "stop"]
TOLERABLE = ("range", "stale", "future", "duplicated", "reordered")
"""Faults that a robot may be known to have; the rest make an observation useless."""


@dataclass(frozen=True)
class SafetyConfig(Settings, block="safety"):
    """Reactions to observations and actions that break the contract.

    A bad tick is answered by the last action (hold), too many in a row by the fallback, and more
    by a stop that only a person undoes (`rearm`).
    """

    fallback: Fallback = "zero"
    """zero: no action; prior: the learned policy, on the last good observation; safe: the
    contract's safe action."""
    fallback_after: Count = 3
    """Bad ticks in a row from which the fallback acts; 1 never holds."""
    stop_after: Count = 10
    """Bad ticks, not parted by a recovery, from which it is stopped until it is re-armed."""
    recover_after: Count = 3
    """Good ticks in a row after which a controller in fallback acts by itself again."""
    max_obs_age_ms: Weight = 0.0
    """Age at which an observation is stale; 0 takes the contract's."""
    action_rate: Weight = 0.0
    """Most change of any action entry a second; 0 takes the contract's."""
    surprise: Reaction = "report"
    """Reaction to a world that is not as the model predicts: off, report, fallback or stop."""
    surprise_after: Count = 3
    """Ticks in a row above the threshold before that happens."""
    tolerate: str = ""
    """Faults that are counted and then ignored, by comma: range, stale, future, duplicated,
    reordered."""

    def __post_init__(self):
        """Reject settings that protect nothing. Raises ConfigError naming the field."""
        super().__post_init__()
        if self.stop_after < self.fallback_after:
            raise ConfigError(
                f"safety.stop_after must be at least fallback_after={self.fallback_after}, got "
                f"{self.stop_after}"
            )
        if strange := self.tolerated - set(TOLERABLE):
            raise ConfigError(
                f"safety.tolerate knows {', '.join(TOLERABLE)}, not {', '.join(sorted(strange))}"
            )

    @property
    def tolerated(self) -> frozenset[str]:
        """The faults of `tolerate`."""
        return frozenset(part.strip() for part in self.tolerate.split(",") if part.strip())


@dataclass(frozen=True)
class ImportTrust(Settings):
    """The setting of every verb that simulates the task that a stored file names."""

    trust: bool = field(default=False, kw_only=True)
    """Import the module of a task MODULE:ID that the files name, which can do anything."""


@dataclass(frozen=True)
class TrustConfig(Settings):
    """Settings of every verb that may run a bundle's own programs."""

    trust: bool = field(default=False, kw_only=True)
    """Run the compiled programs of a bundle although nothing vouches for them, and import the
    module of a task MODULE:ID that it names."""
    digest: str = field(default="", kw_only=True)
    """The digest of the bundle, as export printed it: vouches for its programs, too."""
