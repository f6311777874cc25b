"""A trained model as a controller: `act(obs) -> action`, checked, bounded, never compiling late.

    controller = Controller.load("runs/ID", mode="plan").warmup()
    action = controller.act(obs)

Everything is compiled before the first tick. A guard (`guard.safety`) stands between the
model and the robot on every tick, and a monitor (`guard.surprise`) compares the world with the
model.
"""

import math
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from agents.deployment import decision
from agents.deployment.anytime import NO_REPORT, NOTHING, Budget, Decision
from agents.deployment.contract import Contract
from agents.deployment.decision import ControllerState, Inputs
from agents.deployment.guard.config import SafetyConfig
from agents.deployment.guard.safety import Guard
from agents.deployment.guard.surprise import Monitor
from agents.deployment.policy import Mode, Policy
from agents.runs.bounds import Seed, Weight, check
from agents.runs.config import PlannerOverrides
from planning.types import PlanInfo

DEADLINE_SHARE = 0.8
"""Of the control period that planning may fill when no deadline is given."""


@dataclass(frozen=True, slots=True)
class Tick:
    """The account of one tick."""

    number: int
    source: str
    """Who acted: plan, prior, shifted (the rest of the last plan), hold, fallback, stop."""
    state: str
    """Of the guard, after the tick."""
    faults: tuple[str, ...]
    interventions: tuple[str, ...]
    surprise: float
    """Latent surprise; 0 where there was nothing to compare."""
    compute_ms: float
    late: bool
    """Whether the tick took longer than its deadline (mode auto, or where one was given)."""
    work: int
    """Iterations; 0 where the prior alone ran, -1 where nothing did: `act(work=...)` replays it."""
    info: PlanInfo
    """Report of the planner; zeros where no plan was made."""


class Begun(NamedTuple):
    """A tick whose decision has to be computed."""

    time: float
    budget: Budget
    inputs: Inputs | None
    """None where nothing is to be computed."""


class Controller:
    """A controller for one robot: a compiled policy, which others may share, and its own state.

    Attributes:
        guard: its safety layer; `guard.counters` say what it did.
        counters: ticks by source, and how many were late.
        last: the last tick.
        state: what the last decision left.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        deadline_ms: float = 0.0,
        seed: int = 0,
        safety: SafetyConfig | None = None,
    ):
        """Raises ConfigError."""
        check("deadline_ms", deadline_ms, Weight)
        self.policy, self.contract = policy, policy.contract
        self.deadline_ms, self.seed = deadline_ms, seed
        self.guard = Guard(self.contract, safety)
        self.monitor = Monitor(self.contract, self.guard.config)
        self.counters: Counter[str] = Counter()
        self.last: Tick | None = None
        self._warm = False
        self.reset()

    @classmethod
    def load(
        cls,
        path: str,
        mode: Mode = "plan",
        deadline_ms: float = 0.0,
        seed: int = 0,
        planner: PlannerOverrides | None = None,
        safety: SafetyConfig | None = None,
        trust: bool = False,
        *,
        digest: str = "",
        contract: Contract | None = None,
    ) -> "Controller":
        """From a run directory, a checkpoint or a bundle, as `Policy.load` says."""
        policy = Policy.load(str(path), mode, planner, trust, digest, contract)
        return cls(policy, deadline_ms=deadline_ms, seed=seed, safety=safety)

    def reset(self, seed: int | None = None) -> None:
        """A new episode: plan, random streams and what the guard compares with begin again."""
        self.seed = self.seed if seed is None else seed
        check("seed", self.seed, Seed)
        self.state = self.policy.init_state(self.seed)
        self._elapsed = 0
        self._good: np.ndarray | None = None
        self.guard.reset()
        self.monitor.reset()

    def rearm(self) -> None:
        """Leave a safety stop; the plan starts afresh."""
        self.guard.rearm()
        self.monitor.reset()
        self._elapsed = 0

    def warmup(self) -> "Controller":
        """Compile and run everything that `act` may need; without effect on what it will do."""
        self.policy.warmup(self.guard.zero)
        self._warm = True
        return self

    def act(
        self,
        obs: Any,
        stamp: float | None = None,
        sequence: int | None = None,
        *,
        now: float | None = None,
        deadline_ms: float | None = None,
        work: int | None = None,
    ) -> np.ndarray:
        """The action [A] float32 of this tick; finite and inside the contract, whatever comes.

        `obs` None says that none came. `stamp` is when it was measured on the monotonic clock,
        `sequence` its number. `deadline_ms` from now replaces the controller's. `now` and `work`
        (of a `Tick`) replace the clocks when a recording is replayed.
        """
        if not self._warm:
            self.warmup()
        begun = self.begin(obs, stamp, sequence, now=now, deadline_ms=deadline_ms, work=work)
        made = None if begun.inputs is None else self.policy.compute(begun.inputs, begun.budget)
        return self.finish(begun, made)

    def begin(
        self,
        obs: Any,
        stamp: float | None,
        sequence: int | None,
        *,
        now: float | None = None,
        deadline_ms: float | None = None,
        work: int | None = None,
    ) -> Begun:
        """The first part of `act`: from what has come to what has to be computed."""
        guard, begin = self.guard, self.policy.timer()
        seconds = self.deadline_s if deadline_ms is None else deadline_ms / 1e3
        now = time.monotonic() if now is None else now
        faults, inputs = guard.observe(obs, stamp, sequence, now), None
        if not faults and guard.state != "stopped":
            seen = np.array(obs, np.float32)
            inputs = Inputs(self.state, seen, guard.last, np.int32(self._elapsed))
        return Begun(begin, Budget(begin + seconds, work), inputs)

    def finish(self, begun: Begun, made: Decision | None) -> np.ndarray:
        """The rest of `act`: from the decision (None without inputs) to the action."""
        guard, timer, budget = self.guard, self.policy.timer, begun.budget
        taken = begun.inputs is not None and made is not None and self._take(begun.inputs.obs, made)
        computed = timer()
        answer, done = guard.filter(made and made.action, self._fallback(made))
        self._elapsed += bool(self._elapsed or taken)
        end = timer()
        self.last = self._account(made, done, 1e3 * (end - begun.time), end > budget.end)
        self.counters[self.last.source] += 1
        self.counters["late"] += self.last.late
        if self.policy.anytime is not None and budget.work is None:
            self.policy.anytime.learn("rest", timer() - computed)
        return answer

    @property
    def deadline_s(self) -> float:
        """Seconds that a tick may take."""
        usual = DEADLINE_SHARE * self.contract.period if self.policy.anytime else math.inf
        return self.deadline_ms / 1e3 or usual

    def get_state(self) -> dict[str, Any]:
        """Everything that decides the actions to come, in plain values and arrays."""
        good = {} if self._good is None else {"obs": self._good}
        own = {"elapsed": self._elapsed, "seed": self.seed, "above": self.monitor.above}
        return decision.stored(self.state) | good | own | self.guard.get_state()

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go back to what `get_state` gave. Raises KeyError, ValueError for another's."""
        self.state: ControllerState = jax.device_put(decision.restored(self.state, state))
        self._elapsed, self.seed, self._good = state["elapsed"], state["seed"], state.get("obs")
        self.monitor.above = state["above"]
        self.guard.set_state(state)

    def _take(self, obs: np.ndarray, made: Decision) -> bool:
        """Remember a decision; one without a valid plan is a bad tick, of which nothing stays."""
        self.monitor.watch(float(made.report[0]), self.guard)
        if made.no_plan and "no_plan" in self.guard.known:
            self.guard.report("no_plan", "no action sequence has a finite value")
            return False
        self._good, self.state, self._elapsed = obs, made.state, 0
        return True

    def _fallback(self, made: Decision | None) -> np.ndarray | None:
        """The prior's action at the last good observation, where that may be asked for."""
        guard = self.guard
        if guard.config.fallback != "prior" or self._good is None or guard.state == "stopped":
            return None
        fine = made is not None and np.isfinite(made.action).all() and not guard.pending
        if fine and guard.state == "ok":
            return None
        return self.policy.prior_action(self._good)

    def _account(self, made: Decision | None, done: list[str], ms: float, late: bool) -> Tick:
        """The tick: what was computed (None: nothing), and what the guard did to it."""
        guard, report = self.guard, made.report if made else NO_REPORT
        instead = [kind for kind in done if kind in ("hold", "fallback", "stop")]
        return Tick(
            number=guard.counters["ticks"],
            source=instead[0] if instead else made.source if made else "hold",
            state=guard.state,
            faults=guard.faults,
            interventions=tuple(done),
            surprise=float(report[0]),
            compute_ms=ms,
            late=late,
            work=made.work if made else NOTHING,
            info=PlanInfo(*report[1:]),
        )
