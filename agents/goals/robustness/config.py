"""Typed settings of a bench of shifted worlds. Imports no jax."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from agents.goals.config import GoalEvalConfig, GoalMode, GoalSeed, ObjectiveOverrides
from agents.runs.bounds import Episodes, Few, Settings
from agents.runs.config import ConfigError, PlannerOverrides
from agents.runs.settings import unknown

LEVELS: dict[str, tuple[float, ...]] = {
    "mass": (0.5, 1.5, 2.0, 4.0),
    "friction": (0.0, 2.0, 4.0),
    "damping": (0.5, 1.5, 2.0),
    "gravity": (0.5, 1.5),
    "tilt": (5.0, 10.0),
    "gain": (0.5, 0.75, 1.5),
    "action_noise": (0.2, 0.5),
    "action_delay": (1, 2, 4),
    "obs_noise": (0.02, 0.05, 0.1),
    "obs_delay": (1, 2, 4),
    "camera": (0.02, 0.05, 0.1),
    "roll": (2.0, 5.0, 15.0),
    "color": (0.1, 0.33),
}
"""Values of `envs.native.shift.Shift` that are tried, each kind alone."""
OF_PIXELS = ("camera", "roll", "color")
"""Shifts that only pictures show."""
OF_SIGHT = (*OF_PIXELS, "obs_noise", "obs_delay")
"""Shifts of a picture after the simulator; noise is a share of full brightness there."""


@dataclass(frozen=True)
class ShiftConfig(Settings):
    """Settings of one bench of shifted worlds."""

    path: str = ""
    """Pretrain run or checkpoint."""
    kinds: str = ""
    """Comma-separated kinds of shift; default: the ends of the ranges in the task's class
    (`randomize`), or without these all kinds that reach what the model sees."""
    goals: Episodes = 50
    """Held-out goals in each world, the same in all."""
    seed: GoalSeed = 0
    mode: GoalMode = "plan"
    """plan: the planner; prior: the learned policy alone."""
    slots: Few = 25
    """Simulators side by side."""
    out: str = ""
    """Directory for shift.json and shift.html; nothing is written when empty."""
    planner: PlannerOverrides = field(default_factory=PlannerOverrides)
    objective: ObjectiveOverrides = field(default_factory=ObjectiveOverrides)

    def __post_init__(self):
        """Reject impossible values. Raises ConfigError naming the field."""
        super().__post_init__()
        for name in self.kind_list:
            if name not in LEVELS:
                raise unknown("kind of shift", name, LEVELS, f"expected {', '.join(LEVELS)}")
        if self.mode not in ("plan", "prior"):
            raise ConfigError(f"mode must be plan or prior, got {self.mode!r}")
        self.evaluation()

    @property
    def kind_list(self) -> tuple[str, ...]:
        """Kinds asked for; none means all."""
        return tuple(dict.fromkeys(k.strip() for k in self.kinds.split(",") if k.strip()))

    def worlds(
        self, pixels: bool, ends: Mapping[str, tuple[float, ...]] = MappingProxyType({})
    ) -> list[tuple[str, float]]:
        """(kind, level) of every shifted world: by default LEVELS, or `ends` of the task's ranges.

        Raises ConfigError for what cannot be seen.
        """
        unseen = () if pixels else OF_PIXELS
        for kind in self.kind_list:
            if kind in unseen:
                raise ConfigError(
                    f"the model sees observation vectors, which {kind} does not reach"
                )
        levels = LEVELS if self.kind_list or not ends else ends
        kinds = self.kind_list or tuple(k for k in levels if k not in unseen)
        return [(kind, level) for kind in kinds for level in levels[kind]]

    def evaluation(self) -> GoalEvalConfig:
        """The same settings for an evaluation in one world."""
        return GoalEvalConfig(
            path=self.path,
            goals=self.goals,
            seed=self.seed,
            mode=self.mode,
            slots=self.slots,
            floor=False,
            planner=self.planner,
            objective=self.objective,
        )
