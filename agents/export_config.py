"""Settings of an export. Imports no jax."""

from dataclasses import dataclass, field

from agents.config import PlannerOverrides


@dataclass(frozen=True)
class ExportConfig:
    """Settings of one export."""

    path: str = ""
    """Run directory or checkpoint to export."""
    out: str = ""
    """New folder for the bundle."""
    planner: PlannerOverrides = field(default_factory=PlannerOverrides)
