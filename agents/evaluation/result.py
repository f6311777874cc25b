"""Results of evaluation episodes, beside what the planner had predicted."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class EvalResult:
    """Results of evaluation episodes, in plain Python."""

    episode_returns: list[float]
    episode_lengths: list[int]
    valid: list[bool]
    predicted: list[float] = field(default_factory=list)
    """Planner's predicted discounted return at sampled moments."""
    realised: list[float] = field(default_factory=list)
    """Discounted return realised from the same moments to the end of the episode."""
    k_step_error: list[float] = field(default_factory=list)
    """Open-loop latent error k = 1.. steps ahead, over that of a random pair of latents."""
    plan_ms: list[float] = field(default_factory=list)
    """Latency of single decisions, one simulator."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)
