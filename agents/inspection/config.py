"""Settings of an inspection. Imports no jax."""

from dataclasses import dataclass, field
from typing import Annotated

from agents.runs.bounds import Few, Meta, PositiveShare, Seed, Settings, Some
from agents.runs.config import ConfigError, PlannerOverrides


@dataclass(frozen=True)
class InspectConfig(Settings):
    """Settings of one inspection."""

    path: str = ""
    """Run directory or checkpoint to look into."""
    data: str = ""
    """Dataset with a test split; the default is that of the training. A reward-driven run without
    one is recorded first."""
    out: str = ""
    """Directory for inspect.html and inspect.json. Default: RUN/inspect."""
    seed: Seed = 0
    rows: Annotated[int, Meta(ge=10, le=2**20)] = 4000
    """Rows of train that probes learn from; validation and test have up to half as many."""
    horizon: Few = 10
    """Steps of the model in open-loop curves."""
    clips: Annotated[int, Meta(ge=2, le=2**14)] = 128
    """Test moments at which events are staged."""
    window: Few = 4
    """Steps of the model that are watched from an event on."""
    mass_factor: Annotated[float, Meta(gt=0, le=1000)] = 4.0
    """Of all moving bodies, in the event `mass`."""
    colour_shift: PositiveShare = 0.3
    """Shift of the object's colour in the control event, in (0, 1]."""
    starts: Annotated[int, Meta(ge=1, le=2**14)] = 48
    """Test moments from which actions are compared."""
    branches: Annotated[int, Meta(ge=2, le=1000)] = 8
    """Action sequences from each; guessing gets 1 / branches right."""
    decoder_rows: Some = 1000
    """Rows of train that the decoder is fitted to, only to look; 0 leaves it out."""
    record_episodes: Annotated[int, Meta(ge=3, le=10_000)] = 30
    """Episodes recorded for a run that has no dataset; the planner's settings are for these."""
    planner: PlannerOverrides = field(default_factory=PlannerOverrides)

    def __post_init__(self):
        """Reject impossible values. Raises ConfigError naming the field."""
        super().__post_init__()
        if self.data and self.planner.given:
            raise ConfigError(
                f"planner.{next(iter(self.planner.given))} is for recording a dataset, and data "
                "names one: give one of the two"
            )
