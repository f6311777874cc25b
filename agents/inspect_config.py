"""Settings of an inspection. Imports no jax."""

from dataclasses import dataclass, field

from agents.config import ConfigError, PlannerOverrides, check_seed


@dataclass(frozen=True)
class InspectConfig:
    """Settings of one inspection."""

    path: str = ""
    """Run directory or checkpoint to look into."""
    data: str = ""
    """Dataset with a test split; the default is that of the training. A reward-driven run without
    one is recorded first."""
    out: str = ""
    """Directory for inspect.html and inspect.json. Default: RUN/inspect."""
    seed: int = 0
    rows: int = 4000
    """Rows of train that probes learn from; validation and test have up to half as many."""
    horizon: int = 10
    """Steps of the model in open-loop curves."""
    clips: int = 128
    """Test moments at which events are staged."""
    window: int = 4
    """Steps of the model that are watched from an event on."""
    mass_factor: float = 4.0
    """Of all moving bodies, in the event `mass`."""
    colour_shift: float = 0.3
    """How far the object's colour turns in the control event, in (0, 1]."""
    starts: int = 48
    """Test moments from which actions are compared."""
    branches: int = 8
    """Action sequences from each; guessing gets 1 / branches right."""
    decoder_rows: int = 1000
    """Rows of train that the decoder is fitted to, only to look; 0 leaves it out."""
    record_episodes: int = 30
    """Episodes recorded for a run that has no dataset; the planner's settings are for these."""
    planner: PlannerOverrides = field(default_factory=PlannerOverrides)

    def __post_init__(self):
        """Reject impossible values. Raises ConfigError naming the field."""
        least = {"rows": 10, "horizon": 1, "clips": 2, "window": 1, "starts": 1, "branches": 2}
        for name, lowest in {**least, "decoder_rows": 0, "record_episodes": 3}.items():
            if getattr(self, name) < lowest:
                raise ConfigError(f"{name} must be at least {lowest}, got {getattr(self, name)}")
        if self.mass_factor <= 0:
            raise ConfigError(f"mass_factor must be positive, got {self.mass_factor}")
        if not 0 < self.colour_shift <= 1:
            raise ConfigError(f"colour_shift must lie in (0, 1], got {self.colour_shift}")
        if self.data and self.planner.given:
            raise ConfigError(
                f"planner.{next(iter(self.planner.given))} is for recording a dataset, and data "
                "names one: give one of the two"
            )
        check_seed(self.seed)
