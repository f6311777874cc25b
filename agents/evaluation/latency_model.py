"""Latency of decisions in an evaluation. Imports no jax."""

import math
from dataclasses import dataclass
from typing import Literal

from agents.runs.config import ConfigError

LatencyPolicy = Literal["hold", "plan"]
"""Until a decision is ready: hold the last action, or play the rest of the last plan."""


@dataclass(frozen=True)
class LatencyModel:
    """A decision takes no time (free), what it takes (measured), or always the same (fixed)."""

    kind: Literal["free", "measured", "fixed"] = "free"
    milliseconds: float = 0.0

    @classmethod
    def parse(cls, text: str) -> "LatencyModel":
        """`free`, `measured` or `fixed:MS`. Raises ConfigError for anything else."""
        if text in ("free", "measured"):
            return cls(text)
        kind, colon, number = text.partition(":")
        try:
            milliseconds = float(number)
        except ValueError:
            milliseconds = math.nan
        if kind != "fixed" or not colon or not 0 <= milliseconds < 1e6:
            raise ConfigError(
                f"latency must be free, measured or fixed:MS (as in fixed:20), got {text!r}"
            )
        return cls("fixed", milliseconds)

    def charge(self, measured_ms: float) -> float:
        """Milliseconds that pass in the simulator for a decision that took `measured_ms`."""
        return {"free": 0.0, "measured": measured_ms, "fixed": self.milliseconds}[self.kind]
