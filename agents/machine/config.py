"""Settings of a profile. Imports no jax."""

from dataclasses import dataclass, field
from typing import Annotated

from agents.runs.bounds import Count, Meta, Settings
from agents.runs.config import PlannerOverrides


@dataclass(frozen=True)
class ProfileConfig(Settings):
    """Settings of one profile of where a training's time goes."""

    target: str = ""
    """Run directory (its settings) or task (those of the preset)."""
    preset: str = "tiny"
    """Model size, where a task is given."""
    num_envs: Annotated[int, Meta(ge=0, le=2**16)] = 0
    """Simulators; 0 takes the run's own (4 for a task)."""
    cycles: Count = 40
    """Cycles timed of each part; medians are reported."""
    fused: bool = True
    """Time the fused loop too, beside the host loop."""
    sims: Annotated[int, Meta(ge=0, le=2**16)] = 64
    """Simulators whose planning in one call is compared with planning for one; 0 leaves it out."""
    out: str = ""
    """JSON file to write the result to; none when empty."""
    planner: PlannerOverrides = field(default_factory=PlannerOverrides)
