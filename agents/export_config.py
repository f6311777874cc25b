"""Settings of an export. Imports no jax."""

from dataclasses import dataclass, field

from agents.config import ConfigError, PlannerOverrides


@dataclass(frozen=True)
class ExportConfig:
    """Settings of one export."""

    path: str = ""
    """Run directory or checkpoint to export."""
    out: str = ""
    """New folder for the bundle."""
    calibration_episodes: int = 10
    """Held-out episodes (of each of three kinds) that the limits of observations and the
    threshold of surprise come from; 0 leaves both unknown."""
    planner: PlannerOverrides = field(default_factory=PlannerOverrides)

    def __post_init__(self):
        """Reject impossible values. Raises ConfigError naming the field."""
        if self.calibration_episodes < 0:
            raise ConfigError(
                f"calibration_episodes must not be negative, got {self.calibration_episodes}"
            )
