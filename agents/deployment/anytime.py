"""Planning within a budget of time: refine while the next iteration is expected to be in time.

The best plan so far is always at hand. When not even one iteration fits, the rest of the last
plan is played, and after its end the prior acts.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from agents.deployment import decision
from agents.deployment.decision import Memory
from agents.runs.compile import cpu_options
from planning import anytime
from planning.config import PlannerConfig
from planning.types import PlanInfo
from wm.tdmpc.model import Networks

DECAY = 0.9
"""A stage is expected to take its longest time of late; what is longer ago counts so much less."""
NOTHING, PRIOR = -1, 0
"""Work of a tick on which nothing ran, or the prior alone; from 1 on it counts iterations."""
NO_REPORT = np.zeros(1 + len(PlanInfo._fields), np.float32)
FALLBACK = 1 + PlanInfo._fields.index("fallback")


class Made(NamedTuple):
    """What the computing of a tick came to."""

    action: np.ndarray
    report: np.ndarray
    memory: Memory
    source: str
    """plan, prior or shifted."""
    work: int

    @property
    def no_plan(self) -> bool:
        """Whether a plan was searched for and no sequence was valid: this action is none of one."""
        return self.source == "plan" and self.report[FALLBACK] != 0


class Pace:
    """How long the stages of a tick take, in seconds: the worst of late.

    A stage that is left out becomes more attractive with every tick, so that a planner that was
    slow for a moment is tried again.
    """

    def __init__(self) -> None:
        self.expected: dict[str, float] = {"rest": 0.0}

    def begin(self, stage: str, seconds: list[float]) -> None:
        """Take the median of some measurements."""
        self.expected[stage] = float(np.median(seconds))

    def learn(self, stage: str, seconds: float) -> None:
        """Take one measurement."""
        before = self.expected.get(stage, seconds)
        self.expected[stage] = max(seconds, DECAY * before + (1 - DECAY) * seconds)

    def left_out(self, stage: str) -> None:
        """The stage did not fit."""
        self.expected[stage] *= DECAY


class Budget(NamedTuple):
    """When a tick has to be over, or the work of a recorded tick that is done again."""

    end: float
    work: int | None = None


class AnytimePlanner:
    """The decision of mode `auto`: programs of one iteration each, and their times.

    With a budget that holds all iterations the actions are those of mode `plan`.

    Attributes:
        programs: first, more/COUNT (an iteration of so many sequences) and watch (the prior).
        pace: what each of them takes.
    """

    def __init__(self, net: Networks, config: PlannerConfig, timer: Callable[[], float]):
        steps, self._counts = decision.stepwise(net, config), anytime.counts(config)
        self._horizon, self._timer = config.horizon, timer
        self.pace = Pace()
        functions: dict[str, Callable[..., Any]] = {
            "first": steps.first,
            "watch": decision.reacting(net),
        }
        functions |= {f"more/{count}": partial(steps.more, count) for count in self._counts[1:]}
        options = cpu_options()
        self.programs = {k: jax.jit(f, compiler_options=options) for k, f in functions.items()}

    def warmup(self, params: Any, memory: Memory, obs: np.ndarray, given: np.ndarray) -> None:
        """Compile everything and measure it."""
        seconds: dict[str, list[float]] = {name: [] for name in self.programs}
        for repeat in range(6):
            inputs = (params, memory, obs, given, np.int32(repeat > 0))
            thought = None
            for name in ("watch", "first", *(f"more/{count}" for count in self._counts[1:])):
                arguments = (params, thought) if name.startswith("more/") else inputs
                begin = self._timer()
                out = self._run(name, *arguments)
                if repeat:  # the first one compiled
                    seconds[name].append(self._timer() - begin)
                memory, thought = out[1], out[-1]
        for name, measured in seconds.items():
            self.pace.begin(name, measured)

    def decide(
        self,
        params: Any,
        memory: Memory,
        obs: np.ndarray,
        given: np.ndarray,
        elapsed: int,
        budget: Budget,
    ) -> Made:
        """The best decision that the budget allows."""
        inputs = (params, memory, obs, given, np.int32(elapsed))
        if not self._fits("first", 1, budget):
            self.pace.left_out("first")
            return self._without_search(inputs, elapsed, budget)
        made, memory, thought = self._timed("first", *inputs)
        work = 1
        for count in self._counts[1:]:
            settled = made.report[-1] < work  # the search stopped by itself
            if settled or not self._fits(f"more/{count}", work + 1, budget):
                break
            made, memory, thought = self._timed(f"more/{count}", params, thought)
            work += 1
        return Made(made.action, made.report, memory, "plan", work)

    def _without_search(self, inputs: tuple, elapsed: int, budget: Budget) -> Made:
        """The rest of the last plan; the prior where there is none.

        The prior's program also says how surprising the observation is, so it runs if it fits.
        """
        memory: Memory = inputs[1]
        age = int(memory.age) + elapsed if elapsed else self._horizon
        planned = age < self._horizon
        shifted = np.clip(np.asarray(memory.plan.mean)[min(age, self._horizon - 1)], -1, 1)
        if planned and not self._fits("watch", PRIOR, budget):
            self.pace.left_out("watch")
            return Made(shifted, NO_REPORT, memory, "shifted", NOTHING)
        made, memory = self._timed("watch", *inputs)
        if planned:
            return Made(shifted, made.report, memory, "shifted", PRIOR)
        return Made(made.action, made.report, memory, "prior", PRIOR)

    def _fits(self, stage: str, work: int, budget: Budget) -> bool:
        """Whether the stage, which brings the work done to `work`, is expected to end in time."""
        if budget.work is not None:
            return work <= budget.work
        expected = self.pace.expected
        return self._timer() + expected[stage] + expected["rest"] <= budget.end

    def _timed(self, stage: str, *arguments: Any) -> Any:
        begin = self._timer()
        out = self._run(stage, *arguments)
        self.pace.learn(stage, self._timer() - begin)
        return out

    def _run(self, stage: str, *arguments: Any) -> Any:
        """A program, waited for."""
        made, *others = self.programs[stage](*arguments)
        host = made._replace(action=np.asarray(made.action), report=np.asarray(made.report))
        return host, *others
