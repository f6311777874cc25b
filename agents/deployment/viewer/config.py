"""Settings of the browser viewer. Imports no jax."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from agents.runs.bounds import Meta, Seed, Settings, TaskId, Weight
from agents.runs.config import PlannerOverrides


@dataclass(frozen=True)
class PlayConfig(Settings):
    """Settings of one viewer."""

    path: str = ""
    """Run directory, checkpoint or bundle to watch."""
    env_id: TaskId = ""
    """Watch on this task instead of the run's; its spec must match."""
    mode: Literal["plan", "prior"] = "plan"
    """Who acts first: the planner or the learned prior; the browser can change it."""
    seed: Seed = 0
    host: str = "127.0.0.1"
    """Address to listen on. Whoever reaches it can watch, pause and change settings."""
    port: Annotated[int, Meta(ge=1, le=65535)] = 8080
    """Port to listen on; the next free one is taken where it is in use."""
    speed: Annotated[float, Meta(gt=0, le=10)] = 1.0
    """Simulated seconds in a second; the browser can change it."""
    seconds: Weight = 0.0
    """End after this time; 0 runs until Ctrl-C."""
    planner: PlannerOverrides = field(default_factory=PlannerOverrides)
