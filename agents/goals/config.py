"""Typed settings of planning to goals and of its evaluation. Imports no jax."""

from dataclasses import asdict, dataclass, field, fields, make_dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from agents.runs import bounds, needs
from agents.runs.bounds import Meta, Settings, kinds
from agents.runs.config import ConfigError, PlannerOverrides
from planning.config import PlannerConfig

GoalMode = Literal["plan", "prior", "random", "zero", "oracle"]
HELD_OUT = 900_000_000
"""Seeds of evaluated starts and goals begin here; those of recorded episodes are passed over."""
GoalSeed = Annotated[int, Meta(ge=0, lt=2**31 - HELD_OUT)]


@dataclass(frozen=True)
class ObjectiveConfig(Settings, block="objective"):
    """Weights of the terms of the cost; distances are shares of that of two random observations.

    A term of weight 0 is left out when an evaluation begins.
    """

    goal: bounds.Weight = 1.0
    """Latent distance to the goal at the end of the horizon."""
    path: bounds.Weight = 0.0
    """Latent distance to the goal, mean over the horizon."""
    critic: bounds.Weight = 0.0
    """Learned cost to go at the end of the horizon."""
    progress: bounds.Weight = 0.0
    """Learned cost to go, mean over the horizon."""
    reachability: bounds.Weight = 0.0
    """Penalty of steps that lead farther than the critic knows a step to reach."""
    effort: bounds.Weight = 0.0
    """Mean square of the actions."""
    smoothness: bounds.Weight = 0.0
    """Mean square of the changes of action."""
    limits: bounds.Weight = 0.0
    """By how much latents leave the box that holds those of the data."""
    radius: bounds.Weight = 0.0
    """Distance from which on farther is no worse, so that the critic leads there; 0 is never."""

    def __post_init__(self):
        """Reject weights that are negative. Raises ConfigError naming the field."""
        super().__post_init__()
        if not self.terms:
            raise ConfigError("objective: at least one weight must be positive")

    @property
    def weights(self) -> dict[str, float]:
        """The weight of every term."""
        return {name: value for name, value in asdict(self).items() if name != "radius"}

    @property
    def terms(self) -> tuple[str, ...]:
        """Terms that count."""
        return tuple(name for name, weight in self.weights.items() if weight > 0)


class _Overrides(Settings, block="objective"):
    """Weights that replace the defaults; the learned terms count only where they were learned."""

    def apply(self, base: ObjectiveConfig) -> ObjectiveConfig:
        """`base` with the given weights replaced. Raises ConfigError naming a bad one."""
        given = {f.name: getattr(self, f.name) for f in fields(ObjectiveConfig)}
        return replace(base, **{k: v for k, v in given.items() if v is not None})


if TYPE_CHECKING:

    class ObjectiveOverrides(_Overrides):
        """Any weight by name."""

        def __init__(self, **settings: Any) -> None: ...
else:  # every weight, unset
    ObjectiveOverrides = make_dataclass(
        "ObjectiveOverrides",
        [(name, kind | None, None) for name, kind in kinds(ObjectiveConfig).items()],
        bases=(_Overrides,),
        frozen=True,
        namespace={
            "__module__": __name__,
            "__doc__": _Overrides.__doc__,
            "overrides": ObjectiveConfig,
        },
    )

PLANNER = PlannerConfig(
    horizon=5,
    num_samples=128,
    num_prior_samples=0,
    num_elites=16,
    num_iterations=3,
    init_std=1.0,
    min_std=0.1,
    target_ess=8.0,
)
"""Planning to goals on a laptop. Distances have no natural unit, so the temperature is found."""

PLAIN = ObjectiveConfig()
"""Without goal heads: straight latent distance."""
GUIDED = ObjectiveConfig(goal=0.0, path=4.0, progress=1.0, reachability=10.0, radius=0.02)
"""With them: the critic leads, and the latent distance counts where the goal is near."""
LEARNED = ("critic", "progress", "reachability")
"""The terms that need a learned critic."""
PRIOR_SAMPLES = 24
"""Sequences that the policy proposes, where there is one."""


def goal_planner(overrides: PlannerOverrides, with_policy: bool) -> PlannerConfig:
    """The planner that was asked for; other methods begin from what is customary for them.

    Raises ConfigError naming a bad setting.
    """
    base = replace(PLANNER, num_prior_samples=PRIOR_SAMPLES) if with_policy else PLANNER
    return overrides.apply(base)


@dataclass(frozen=True)
class GoalEvalConfig(Settings):
    """Settings of one evaluation on held-out goals."""

    path: str = ""
    """Pretrain run or checkpoint to evaluate."""
    goals: bounds.Episodes = 200
    """Held-out pairs of start and goal (--episodes is the same)."""
    seed: GoalSeed = 0
    """Which held-out pairs: the same seed gives the same ones, to every agent."""
    mode: GoalMode = "plan"
    """plan: the planner; prior: the learned policy alone; oracle: the planner on the true
    simulator, by distance in achieved quantities; random and zero: the floors."""
    floor: bool = True
    """Also run random actions on the same goals."""
    oracle_goals: Annotated[int, Meta(ge=0, le=10_000)] = 0
    """Also run the oracle on the first so many of the goals (slow)."""
    goal_heads: bool = True
    """Use the critic and the policy that `latentmpc distill` has learned, if it has."""
    env_id: bounds.TaskId = ""
    """Evaluate on this task instead of the run's."""
    slots: bounds.Few = 25
    """Simulators side by side; a goal that is done makes room for the next."""
    out: str = ""
    """Directory for result.json and goals.jsonl; nothing is written when empty."""
    planner: PlannerOverrides = field(default_factory=PlannerOverrides)
    objective: ObjectiveOverrides = field(default_factory=ObjectiveOverrides)

    @property
    def with_policy(self) -> bool:
        """Whether a learned policy, where there is one, proposes sequences; not to the oracle."""
        return self.goal_heads and self.mode != "oracle"


@dataclass(frozen=True)
class GoalHeadsConfig(Settings, block="goal_heads"):
    """Settings of learning a critic and a policy for goals from recorded episodes."""

    updates: bounds.Total = 3_000
    """Updates of the critic, and as many of the policy."""
    batch_size: bounds.Count = 512
    width: bounds.Width = 128
    """Hidden width of both networks, which have two hidden layers."""
    learning_rate: Annotated[float, Meta(ge=0, le=10)] = 5e-4
    seed: bounds.Seed = 0
    discount: bounds.InnerShare = 0.98
    """Of a decision: distances far beyond 1 / (1 - discount) decisions look alike."""
    stride: bounds.Few = 4
    """Decisions between two moments that are always compared, whatever the goal."""
    bound: bounds.Positive = 10.0
    """Weight of keeping distances within the decisions it took, beside spreading embeddings."""
    same_episode: bounds.Share = 0.6
    """Share of goals that come later in the same episode; the others are any moment's."""
    nearness: bounds.InnerShare = 0.1
    """Chance per decision that such a goal comes no later: mean lead 1 / nearness."""
    noise: bounds.Weight = 0.05
    """Noise on embeddings, as a share of their spread: predicted ones are never quite right."""
    turns: bounds.FewOrNone = 0
    """Learn from each episode turned by so many random angles, in tasks that look the same from
    all sides; 0: as it was recorded."""
    advantage: bounds.Weight = 3.0
    """Preference of the policy for imitating actions that brought the goal nearer than expected."""
    imagined: bounds.FewOrNone = 3
    """Steps of the model over which the policy brings down the planner's cost; 0 only imitates."""
    imitation: bounds.Weight = 0.1
    """Weight of imitation beside that cost."""
    path: bounds.Weight = 4.0
    """Weight of the distance to the goal beside the critic, for policy and planner alike."""
    radius: bounds.Weight = 0.02
    """Distance from which on farther is no worse, so that the critic leads there; 0 is never."""

    @property
    def objective(self) -> ObjectiveConfig:
        """The objective that goes with these heads."""
        return replace(GUIDED, path=self.path, radius=self.radius)


@dataclass(frozen=True)
class DistillConfig:
    """Settings of `latentmpc distill`."""

    path: str = ""
    """Pretrain run or checkpoint."""
    data: str = ""
    """Dataset to learn from instead of the run's own."""
    goal_heads: GoalHeadsConfig = field(default_factory=GoalHeadsConfig)


def memory_needed(heads: GoalHeadsConfig) -> needs.Parts:
    """Bytes of critic and policy, of two hidden layers, and of an update."""
    rows = heads.batch_size * (1 + heads.imagined)
    lower = "--goal-heads.batch-size or --goal-heads.imagined"
    return {
        "parameters": (needs.FLOAT * needs.COPIES * 2 * heads.width**2, "--goal-heads.width"),
        "an update": (needs.FLOAT * rows * 2 * heads.width, lower),
    }
