"""Settings of `run`: a controller in real time. Imports no jax."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from agents.deployment.guard.config import SafetyConfig, TrustConfig
from agents.runs.bounds import Episodes, Meta, Period, Seed, TaskId, Weight
from agents.runs.config import ConfigError, PlannerOverrides

RunMode = Literal["plan", "prior", "auto"]


@dataclass(frozen=True)
class RunConfig(TrustConfig):
    """Settings of one run in real time."""

    path: str = ""
    """Bundle, run directory or checkpoint to run."""
    env: TaskId = ""
    """Task that is simulated in wall-clock time; its spec must match. Default: the bundle's."""
    rate: Weight = 0.0
    """Decisions a second. Has to be what the model was trained at, which is the default."""
    mode: RunMode = "plan"
    """plan: the planner; prior: the learned prior alone; auto: plan until the deadline."""
    deadline_ms: Weight = 0.0
    """When mode auto has to have decided, from the beginning of a tick; 0 is 80 % of the period."""
    seconds: Weight = 0.0
    """Stop after this time; 0 lets the episodes decide."""
    episodes: Period = 0
    """Stop after this many episodes; 0 is 3, or no limit where seconds are given."""
    seed: Seed = 1000
    """Episode i begins from seed + i, as in an evaluation of one simulator."""
    max_misses: Period = 10
    """Deadlines missed in a row at which the run stops with exit code 5; 0 never does."""
    phase_ms: Weight = 2.0
    """How long after a sensor reading is due the controller looks at it."""
    spin_ms: Weight = 0.0
    """The last part of each wait, spent looking at the clock: exacter, at the cost of a core."""
    realtime: bool = False
    """Ask the system for real-time scheduling (SCHED_FIFO), for the simulator too."""
    out: str = ""
    """Directory for result.json and the recording. Default: runs/run-ENV-TIME, if needed."""
    record: bool = False
    """Keep the flight recording when nothing went wrong, too."""
    record_seconds: Annotated[float, Meta(gt=0, le=3600)] = 30.0
    """Length of the flight recorder's memory."""
    record_faults: Episodes = 10
    """Recordings of faults that are kept, the last ones; each ends a second after its fault."""
    replay: str = ""
    """Replay this recording through PATH, in place of a simulator, and compare every bit."""
    planner: PlannerOverrides = field(default_factory=PlannerOverrides)
    safety: SafetyConfig = field(default_factory=SafetyConfig)

    @property
    def episode_limit(self) -> int:
        """Episodes to run; 0 for no limit."""
        return self.episodes or (0 if self.seconds else 3)


def check_rate(rate: float, period: float) -> float:
    """The rate to run at, in Hz: `rate`, or 1 / `period`. Raises ConfigError if they differ.

    The model predicts `period` seconds ahead and nothing else: another rate is another model.
    """
    trained = 1.0 / period
    if rate and abs(rate - trained) > 1e-3 * trained:
        raise ConfigError(
            f"rate is {rate:g} Hz, but the model decides at {trained:g} Hz (every {period:g} s): "
            f"give --rate {trained:g} or leave it out; another rate needs a model trained with "
            "another --action-repeat"
        )
    return trained
