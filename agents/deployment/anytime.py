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
from agents.deployment.decision import REPORT, ControllerState, Inputs
from agents.runs.compile import cpu_options
from planning import anytime
from planning.config import PlannerConfig
from wm.tdmpc.model import Networks

DECAY = 0.9
"""A stage is expected to take its longest time of late; what is longer ago counts so much less."""
NOTHING, PRIOR = -1, 0
"""Work of a tick on which nothing ran, or the prior alone; from 1 on it counts iterations."""
NO_REPORT = np.zeros(len(REPORT), np.float32)


class Decision(NamedTuple):
    """The computed decision of a tick."""

    action: np.ndarray
    report: np.ndarray
    """[9], entries as in `REPORT`."""
    state: ControllerState
    source: str
    """plan, prior or shifted (the rest of the last plan)."""
    work: int

    @property
    def no_plan(self) -> bool:
        """Whether a plan was searched for and no sequence was valid: this action is none of one."""
        return self.source == "plan" and self.report[REPORT.index("fallback")] != 0


class Budget(NamedTuple):
    """When a tick has to be over, or the work of a recorded tick that is done again."""

    end: float
    work: int | None = None


class AnytimePlanner:
    """The decisions of mode `auto`: programs of one iteration each, and their times.

    With a budget that holds all iterations the actions are those of mode `plan`.

    Attributes:
        programs: first, more/COUNT (an iteration of so many sequences) and watch (the prior).
        expected: seconds that each of them, and the rest of a tick, takes: the worst of late.
        timer: a clock, in seconds.
    """

    def __init__(self, net: Networks, config: PlannerConfig, timer: Callable[[], float]):
        first, more = decision.refining_policy(net, config)
        functions = {"first": first, "watch": decision.prior_policy(net)}
        self._refinements = [f"more/{count}" for count in anytime.counts(config)[1:]]
        for name in self._refinements:
            functions[name] = partial(more, int(name.removeprefix("more/")))
        options = cpu_options()
        self.programs: dict[str, Callable[..., Any]] = {
            name: jax.jit(function, compiler_options=options)
            for name, function in functions.items()
        }
        self.expected = {"rest": 0.0}
        self.timer, self._horizon = timer, config.horizon

    def warmup(self, params: Any, inputs: Inputs) -> None:
        """Compile everything and measure it."""
        seconds: dict[str, list[float]] = {name: [] for name in self.programs}
        for repeat in range(6):
            inputs, refined = inputs._replace(elapsed=np.int32(repeat > 0)), None
            for name in ("watch", "first", *self._refinements):
                arguments = (params, refined) if name in self._refinements else (params, *inputs)
                begin = self.timer()
                _, _, state, *others = self._run(name, *arguments)
                if repeat:  # the first one compiled
                    seconds[name].append(self.timer() - begin)
                inputs, refined = inputs._replace(state=state), others and others[0]
        self.expected |= {name: float(np.median(measured)) for name, measured in seconds.items()}

    def decide(self, params: Any, inputs: Inputs, budget: Budget) -> Decision:
        """The best decision that the budget allows."""
        if not self._fits("first", 1, budget):
            self._left_out("first")
            return self._without_search(params, inputs, budget)
        action, report, state, refined = self._timed("first", params, *inputs)
        work = 1
        for name in self._refinements:
            settled = report[-1] < work  # the search stopped by itself
            if settled or not self._fits(name, work + 1, budget):
                break
            action, report, state, refined = self._timed(name, params, refined)
            work += 1
        return Decision(action, report, state, "plan", work)

    def learn(self, stage: str, seconds: float) -> None:
        """Take one measurement."""
        before = self.expected.get(stage, seconds)
        self.expected[stage] = max(seconds, DECAY * before + (1 - DECAY) * seconds)

    def _without_search(self, params: Any, inputs: Inputs, budget: Budget) -> Decision:
        """The rest of the last plan; the prior where there is none.

        The prior's program also says how surprising the observation is, so it runs if it fits.
        """
        state, elapsed = inputs.state, int(inputs.elapsed)
        age = int(state.age) + elapsed if elapsed else self._horizon
        planned = age < self._horizon
        shifted = np.clip(np.asarray(state.plan.mean)[min(age, self._horizon - 1)], -1, 1)
        if planned and not self._fits("watch", PRIOR, budget):
            self._left_out("watch")
            return Decision(shifted, NO_REPORT, state, "shifted", NOTHING)
        action, report, state = self._timed("watch", params, *inputs)
        if planned:
            return Decision(shifted, report, state, "shifted", PRIOR)
        return Decision(action, report, state, "prior", PRIOR)

    def _fits(self, stage: str, work: int, budget: Budget) -> bool:
        """Whether the stage, which brings the work done to `work`, is expected to end in time."""
        if budget.work is not None:
            return work <= budget.work
        return self.timer() + self.expected[stage] + self.expected["rest"] <= budget.end

    def _left_out(self, stage: str) -> None:
        """It becomes more attractive: a planner that was slow for a moment is tried again."""
        self.expected[stage] *= DECAY

    def _timed(self, stage: str, *arguments: Any) -> Any:
        begin = self.timer()
        out = self._run(stage, *arguments)
        self.learn(stage, self.timer() - begin)
        return out

    def _run(self, stage: str, *arguments: Any) -> Any:
        """A program, waited for."""
        action, report, *others = self.programs[stage](*arguments)
        return np.asarray(action), np.asarray(report), *others
