"""Settings of the browser viewer. Imports no jax."""

from dataclasses import dataclass, field
from typing import Literal

from agents.config import ConfigError, PlannerOverrides, check_seed


@dataclass(frozen=True)
class PlayConfig:
    """Settings of one viewer."""

    path: str = ""
    """Run directory, checkpoint or bundle to watch."""
    env_id: str = ""
    """Watch on this task instead of the run's; its spec must match."""
    mode: Literal["plan", "prior"] = "plan"
    """Who acts first: the planner or the learned prior; the browser can change it."""
    seed: int = 0
    host: str = "127.0.0.1"
    """Address to listen on. Whoever reaches it can watch, pause and change settings."""
    port: int = 8080
    """Port to listen on; the next free one is taken where it is in use."""
    speed: float = 1.0
    """Simulated seconds in a second; the browser can change it."""
    seconds: float = 0.0
    """End after this time; 0 runs until Ctrl-C."""
    planner: PlannerOverrides = field(default_factory=PlannerOverrides)

    def __post_init__(self):
        """Reject impossible values. Raises ConfigError naming the field."""
        check_seed(self.seed)
        if not 0 < self.port < 65536:
            raise ConfigError(f"port must lie in [1, 65535], got {self.port}")
        if not 0 < self.speed <= 10:
            raise ConfigError(f"speed must lie in (0, 10], got {self.speed}")
        if not self.seconds >= 0:
            raise ConfigError(f"seconds must not be negative, got {self.seconds}")
