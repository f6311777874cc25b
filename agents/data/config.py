"""Settings of data collection. Imports no jax."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from agents.runs import needs
from agents.runs.bounds import Count, FewOrNone, Meta, Period, Seed, Settings, Share, TaskId
from agents.runs.config import ConfigError, PlannerOverrides

Policy = Literal["random", "noise", "checkpoint", "scripted"]


@dataclass(frozen=True)
class CollectConfig(Settings):
    """Settings of one collection."""

    env_id: TaskId = ""
    """Task to record (`latentmpc tasks` lists them)."""
    out: str = ""
    """Directory of the dataset; the same command resumes. Default: data/ENV-POLICY-seed."""
    episodes: Count = 100
    policy: Policy = "random"
    """random: uniform actions; noise: coloured noise; checkpoint: a trained run that explores;
    scripted: the task's own hand-written policy."""
    seed: Seed = 0
    checkpoint: str = ""
    """Run directory or checkpoint that acts, with --policy checkpoint."""
    correlation: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    """Of a random action with the one before, in [0, 1); each stays uniform."""
    noise: Literal["coloured", "ou"] = "coloured"
    """Kind of noise: power-law spectrum, or Ornstein-Uhlenbeck."""
    noise_scale: Annotated[float, Meta(ge=0, le=100)] = 0.5
    """Standard deviation of noise (actions span [-1, 1] and are clipped)."""
    noise_exponent: Annotated[float, Meta(ge=0, le=100)] = 1.0
    """Of coloured noise: power falls as frequency^-exponent (0 white, 1 pink, 2 red)."""
    noise_tau: Annotated[float, Meta(gt=0, le=1e6)] = 0.3
    """Seconds in which Ornstein-Uhlenbeck noise forgets."""
    epsilon: Share = 0.0
    """Share of decisions of checkpoint and scripted policies that are replaced by random ones."""
    steps: Period = 0
    """Most decisions of an episode; 0 takes the task's time limit."""
    action_repeat: FewOrNone = 0
    """Frames per decision; 0 takes the task's own."""
    pixels: bool = True
    """Render every row (off screen, from the recorded states)."""
    size: Annotated[int, Meta(ge=1, le=4096)] = 64
    """Height and width of the pictures."""
    validation: Share = 0.1
    """Share of episodes in the validation split."""
    test: Share = 0.1
    """Share of episodes in the test split."""
    shard: Annotated[int, Meta(ge=1, le=2**14)] = 32
    """Episodes simulated side by side and stored together: the most a kill can lose."""
    jobs: FewOrNone = 0
    """Rendering processes; 0 takes one for each core."""
    planner: PlannerOverrides = field(default_factory=PlannerOverrides)

    def __post_init__(self):
        """Reject impossible values. Raises ConfigError naming the field."""
        super().__post_init__()
        if self.validation + self.test >= 1:
            raise ConfigError(
                "validation and test must be shares that leave some for training, got "
                f"{self.validation} and {self.test}"
            )
        if (self.policy == "checkpoint") != bool(self.checkpoint):
            raise ConfigError("--policy checkpoint needs --checkpoint RUN, and the others none")
        if self.planner.given and self.policy != "checkpoint":
            raise ConfigError(
                f"planner.{next(iter(self.planner.given))} is given, but policy {self.policy} "
                "plans nothing: add --policy checkpoint --checkpoint RUN, or leave it out"
            )

    @property
    def resolved_out(self) -> str:
        """`out`, or data/ENV-POLICY-seed where it was not given."""
        name = self.env_id.replace("/", "-").replace(":", "-")
        return self.out or f"data/{name}-{self.policy}-{self.seed}"


def memory_needed(config: CollectConfig) -> needs.Parts:
    """Bytes of a shard: its episodes, as far as their length is known, and who makes them."""
    rows = min(config.shard, config.episodes) * max(config.steps, 1)
    pictures = 3 * config.size**2 if config.pixels else 0
    sims = min(config.shard, config.episodes)
    return {
        "the simulators": (needs.LEAST_SIMULATOR * sims, "--shard"),
        "the episodes of a shard": (rows * (pictures + needs.FLOAT), "--shard, --steps or --size"),
        **needs.workers(config.jobs),
    }
