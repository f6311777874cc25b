"""Settings of a profile. Imports no jax."""

from dataclasses import dataclass, field

from agents.config import ConfigError, PlannerOverrides


@dataclass(frozen=True)
class ProfileConfig:
    """Settings of one profile of where a training's time goes."""

    target: str = ""
    """Run directory (its settings) or task (those of the preset)."""
    preset: str = "tiny"
    """Model size, where a task is given."""
    num_envs: int = 0
    """Simulators; 0 takes the run's own (4 for a task)."""
    cycles: int = 40
    """Cycles timed of each part; medians are reported."""
    fused: bool = True
    """Time the fused loop too, beside the host loop."""
    sims: int = 64
    """Simulators whose planning in one call is compared with planning for one; 0 leaves it out."""
    out: str = ""
    """JSON file to write the result to; none when empty."""
    planner: PlannerOverrides = field(default_factory=PlannerOverrides)

    def __post_init__(self):
        """Reject impossible values. Raises ConfigError naming the field."""
        for name, least in (("num_envs", 0), ("cycles", 1), ("sims", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be at least {least}, got {getattr(self, name)}")
