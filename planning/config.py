"""Static planner settings. This module imports no jax, so `--help` stays fast."""

import math
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, get_args

from msgspec import Meta

from planning.limits import Count, Few, FewOrNone, Positive, Rate, Share, Some, Weight, check

Method = Literal["mppi", "cem", "icem", "predictive_sampling", "gradient"]
MOST_STEPS = 2**30
"""Model steps of one decision; more would only keep a machine busy."""
METHODS: tuple[str, ...] = get_args(Method)
SAMPLING = ("mppi", "cem", "icem", "predictive_sampling")
USED_BY = {
    "noise_beta": SAMPLING,
    "num_knots": SAMPLING,
    "sample_decay": SAMPLING,
    "stop_spread": SAMPLING,
    "target_ess": ("mppi",),
    "keep_elites": ("icem",),
    "num_restarts": ("gradient",),
    "learning_rate": ("gradient",),
    "projection": ("gradient",),
}
"""Settings that not every method knows, and the methods that do; others leave the default."""
CUSTOMARY: dict[str, dict[str, Any]] = {
    "mppi": {},
    "cem": {},
    "icem": {"noise_beta": 0.5, "sample_decay": 1.25},
    "predictive_sampling": {"init_std": 0.5, "num_knots": 3},
    "gradient": {"num_iterations": 20, "num_restarts": 6},
}
"""Usual settings of a method, where they differ from MPPI's defaults; alike in budget."""
OPTIONS = {*USED_BY, *(name for own in CUSTOMARY.values() for name in own)}
"""Settings that belong to a method: another one starts with its own."""


@dataclass(frozen=True)
class PlannerConfig:
    """Settings of every planner; actions live in [-1, 1] per dimension.

    Defaults are the laptop planner, MPPI. TD-MPC2's own budget is 512 samples, 24 of them from
    the prior, 6 iterations, 64 elites (`PlannerConfig.full()`).
    """

    horizon: Few = 3
    """Steps the plan looks ahead (agent decisions); independent of the training horizon."""
    num_samples: Count = 128
    """Action sequences scored in each iteration, the prior's and the nominal plan included."""
    num_prior_samples: Some = 16
    """Sequences rolled out by the learned prior; fixed over iterations."""
    num_elites: Count = 16
    """Best sequences that update the plan."""
    num_iterations: Few = 3
    """Refinements of the plan per decision."""
    temperature: Positive = 2.0
    """Divides the values: weights = softmax(value / temperature). TD-MPC2 multiplies by 0.5."""
    init_std: Annotated[float, Meta(gt=0, le=100)] = 2.0
    """Standard deviation every plan restarts from."""
    min_std: Annotated[float, Meta(gt=0, le=100)] = 0.05
    """Floor of the standard deviation."""
    method: Method = "mppi"
    """Planner: mppi, cem, icem, predictive_sampling or gradient."""
    noise_beta: Annotated[float, Meta(ge=0, le=10)] = 0.0
    """Colour of the noise over the horizon: power ~ 1 / frequency^beta. 0 is white, 2 drifts."""
    num_knots: FewOrNone = 0
    """Points at which noise is drawn, a spline between them; 0 draws it at every step."""
    spline: Literal["linear", "cubic"] = "linear"
    """How noise is interpolated between knots."""
    target_ess: Weight = 0.0
    """MPPI: effective samples that the temperature is chosen for; 0 keeps `temperature`."""
    risk: Literal["none", "std", "cvar"] = "none"
    """Terminal value of an ensemble: its mean, mean - coef x std, or mean of its worst share."""
    risk_coef: Weight = 0.5
    """Standard deviations to subtract (std), or the worst share of heads to average (cvar)."""
    sample_decay: Annotated[float, Meta(ge=1, le=1000)] = 1.0
    """Each iteration draws this many times fewer samples, but at least two per elite; 1 is off."""
    stop_spread: Weight = 0.0
    """Stop once mean and spread of the elites each move by less (RMS); 0 never stops early."""
    keep_elites: Share = 0.3
    """iCEM: share of the elites that compete again in the next iteration."""
    num_restarts: Annotated[int, Meta(ge=1, le=2**14)] = 4
    """Gradient: sequences improved side by side; from the plan, the prior and noise."""
    learning_rate: Rate = 0.3
    """Gradient: first step of Adam, in actions; falls linearly to zero over the iterations."""
    projection: Literal["clip", "tanh"] = "clip"
    """Gradient: stay in bounds by clipping after each step, or by descending before a tanh."""

    def __post_init__(self):
        """Reject settings that cannot plan. Raises ValueError naming the field."""
        check(self, "planner")
        share = "(0, 1] with risk=cvar"
        limits = {
            "min_std": (self.min_std <= self.init_std, f"be at most init_std={self.init_std}"),
            "num_samples": (
                self.num_samples >= 2 or self.method not in SAMPLING,
                "be at least 2: the first is the plan itself, which alone never changes",
            ),
            "num_prior_samples": (
                self.num_prior_samples < self.num_samples,
                f"lie in [0, num_samples={self.num_samples})",
            ),
            "num_elites": (
                self.num_elites <= self.num_samples,
                f"be at most num_samples={self.num_samples}",
            ),
            "num_knots": (self.num_knots <= self.horizon, f"lie in [0, horizon={self.horizon}]"),
            "target_ess": (
                self.target_ess == 0 or 1 <= self.target_ess <= self.num_elites,
                f"be 0 or lie in [1, num_elites={self.num_elites}]",
            ),
            "risk_coef": (self.risk != "cvar" or 0 < self.risk_coef <= 1, f"lie in {share}"),
        }
        for field, (holds, wanted) in limits.items():
            if not holds:
                raise ValueError(f"planner.{field} must {wanted}, got {getattr(self, field)}")
        if (steps := evaluations(self)) > MOST_STEPS:
            raise ValueError(
                f"planner.num_samples, horizon and num_iterations come to {steps:,} model steps a "
                f"decision, at most {MOST_STEPS:,} can be meant"
            )
        for field, methods in USED_BY.items():
            off = type(self).__dataclass_fields__[field].default
            if self.method not in methods and getattr(self, field) != off:
                raise ValueError(
                    f"planner.{field} is not used by {self.method} but by {', '.join(methods)}; "
                    f"leave it at {off}"
                )

    @property
    def samples_drawn(self) -> tuple[int, ...]:
        """Sequences each iteration draws and scores, the prior's (scored once) not among them.

        Gradient: those that it improves, in all iterations at once.
        """
        if self.method == "gradient":
            return (self.num_restarts,)
        most = self.num_samples - self.num_prior_samples
        least = min(most, 2 * self.num_elites)
        decayed = [most * self.sample_decay**-i for i in range(self.num_iterations)]
        return tuple(max(math.ceil(count), least) for count in decayed)

    @property
    def prior_restarts(self) -> int:
        """Gradient: how many restarts the prior seeds; half of those that are not the plan."""
        return min(self.num_prior_samples, self.num_restarts // 2)

    @classmethod
    def full(cls) -> "PlannerConfig":
        """TD-MPC2's published planning budget."""
        return cls(num_samples=512, num_prior_samples=24, num_elites=64, num_iterations=6)

    @classmethod
    def customary(cls, method: Method, **changes: Any) -> "PlannerConfig":
        """The settings a method is usually run with, where they differ from MPPI's."""
        return cls().changed(method=method, **changes)

    def changed(self, **changes: Any) -> "PlannerConfig":
        """These settings with changes; another method brings what is customary for it.

        Horizon and samples then stay, options of the old method go. Raises ValueError.
        """
        method = changes.get("method", self.method)
        if method == self.method:
            return replace(self, **changes)
        known = type(self).__dataclass_fields__
        fresh = {name: known[name].default for name in OPTIONS} | CUSTOMARY.get(method, {})
        fresh["num_knots"] = min(fresh["num_knots"], changes.get("horizon", self.horizon))
        return replace(self, **{**fresh, **changes})


def unused(config: PlannerConfig) -> dict[str, str]:
    """Settings whose value changes no plan under the others, and why: {"risk_coef": "..."}."""
    method, once = config.method, "planner.num_iterations is 1"
    found = {
        name: f"it belongs to {', '.join(methods)}, and planner.method is {method}"
        for name, methods in USED_BY.items()
        if method not in methods
    }
    same_spline = config.num_knots < 3 or config.num_knots == config.horizon
    knots = f"planner.num_knots is {config.num_knots} and planner.horizon {config.horizon}"
    rules = {
        "temperature": (method != "mppi", f"planner.method is {method}"),
        "risk_coef": (config.risk == "none", "planner.risk is none"),
        "spline": (same_spline, f"{knots}, where linear and cubic are the same"),
        "sample_decay": (config.num_iterations == 1, once),
        "stop_spread": (config.num_iterations == 1, once),
        "keep_elites": (config.num_iterations == 1, once),
        "num_samples": (method == "gradient", "gradient improves planner.num_restarts sequences"),
        "num_elites": (method == "gradient", "gradient has no elites"),
    }
    if method == "mppi" and config.target_ess > 0:
        rules["temperature"] = (
            True,
            f"planner.target_ess is {config.target_ess:g}, which finds it",
        )
    if method == "predictive_sampling" and config.sample_decay == 1:
        rules["num_elites"] = (True, "predictive_sampling takes the best sample alone")
    return {name: why for name, (holds, why) in rules.items() if holds} | found


def evaluations(config: PlannerConfig) -> int:
    """Model steps of one decision, the prior's roll-outs included.

    A search that stops early takes fewer. The gradient planner runs each of its steps backward
    too, which costs about twice a step more.
    """
    if config.method == "gradient":
        rolled_out = config.prior_restarts
        scored = config.num_restarts * (config.num_iterations + 1)
    else:
        rolled_out = config.num_prior_samples
        scored = rolled_out + sum(config.samples_drawn)
    return config.horizon * (rolled_out + scored)
