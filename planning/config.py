"""Static planner settings. This module imports no jax, so `--help` stays fast."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PlannerConfig:
    """MPPI settings; actions live in [-1, 1] per dimension.

    Defaults are the laptop planner. TD-MPC2's own budget is 512 samples, 24 of them from the
    prior, 6 iterations, 64 elites (`PlannerConfig.full()`).
    """

    horizon: int = 3
    """Steps the plan looks ahead (agent decisions); independent of the training horizon."""
    num_samples: int = 128
    """Action sequences scored in each iteration, the prior's and the nominal plan included."""
    num_prior_samples: int = 16
    """Sequences rolled out by the learned prior; fixed over iterations."""
    num_elites: int = 16
    """Best sequences that update the plan."""
    num_iterations: int = 3
    """Refinements of the plan per decision."""
    temperature: float = 2.0
    """Divides the values: weights = softmax(value / temperature). TD-MPC2 multiplies by 0.5."""
    init_std: float = 2.0
    """Standard deviation every plan restarts from."""
    min_std: float = 0.05
    """Floor of the standard deviation."""

    def __post_init__(self):
        """Reject settings that cannot plan. Raises ValueError naming the field."""
        for field in ("horizon", "num_samples", "num_elites", "num_iterations"):
            if getattr(self, field) < 1:
                raise ValueError(f"planner.{field} must be at least 1, got {getattr(self, field)}")
        for field in ("temperature", "init_std", "min_std"):
            if not getattr(self, field) > 0:
                raise ValueError(f"planner.{field} must be positive, got {getattr(self, field)}")
        if not 0 <= self.num_prior_samples < self.num_samples:
            raise ValueError(
                f"planner.num_prior_samples must lie in [0, num_samples={self.num_samples}), "
                f"got {self.num_prior_samples}"
            )
        if self.num_elites > self.num_samples:
            raise ValueError(
                f"planner.num_elites must be at most num_samples={self.num_samples}, "
                f"got {self.num_elites}"
            )

    @classmethod
    def full(cls) -> "PlannerConfig":
        """TD-MPC2's published planning budget."""
        return cls(num_samples=512, num_prior_samples=24, num_elites=64, num_iterations=6)
