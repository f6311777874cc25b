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
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import numpy as np

from agents.deployment import decision
from agents.deployment.anytime import PRIOR, AnytimePlanner, Budget, Made
from agents.deployment.contract import Contract
from agents.deployment.decision import Decide, Memory
from agents.deployment.guard.config import SafetyConfig
from agents.deployment.guard.safety import Guard
from agents.deployment.guard.surprise import Monitor
from agents.deployment.open import open_path
from agents.deployment.ticks import CompileCounter, Tick, tick_of
from agents.runs.bounds import Seed, check
from agents.runs.compile import cpu_options
from agents.runs.config import ConfigError, PlannerOverrides
from planning.config import PlannerConfig
from wm.tdmpc.model import Networks

Mode = Literal["plan", "prior", "auto"]
MODES = ("plan", "prior", "auto")
SHARE = 0.8
"""Of the control period that planning may fill when no deadline is given."""


class Controller:
    """A controller for one robot.

    Attributes:
        contract: what it expects and promises.
        guard: its safety layer; `guard.counters` and `guard.events` say what it did.
        monitor: its surprise monitor.
        last: the last `Tick`.
        counters: ticks by source, and how many were late.
        decide: what a tick computes, before it is compiled.
        programs: whether that is a bundle's own program.
        note: why it is not, in words; empty where there is none, or it is.
    """

    def __init__(
        self,
        contract: Contract,
        net: Networks,
        params: Any,
        planner: PlannerConfig,
        *,
        mode: Mode = "plan",
        deadline_ms: float = 0.0,
        seed: int = 0,
        safety: SafetyConfig | None = None,
        programs: Mapping[str, Decide] | None = None,
        note: str = "",
        clock: Callable[[], float] = time.monotonic,
        timer: Callable[[], float] = time.perf_counter,
    ):
        """Raises ConfigError.

        `programs` replaces the installed code of modes plan and prior; `note` says why there
        are none. `clock` dates observations, `timer` measures computing.
        """
        if mode not in MODES:
            raise ConfigError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
        if not 0 <= deadline_ms < math.inf:
            raise ConfigError(f"deadline_ms must be finite and not negative, got {deadline_ms}")
        self.contract, self.net, self.planner, self.mode = contract, net, planner, mode
        self.deadline_ms, self.seed, self.clock, self._timer = deadline_ms, seed, clock, timer
        self.guard = Guard(contract, safety)
        self.monitor = Monitor(contract, self.guard.config)
        self.counters: Counter[str] = Counter()
        self.last: Tick | None = None
        self._compiled = CompileCounter()
        self._warm = False
        self._params = jax.device_put(params)
        options = cpu_options()
        self._reflex = jax.jit(decision.reflex(net), compiler_options=options)
        self.anytime = AnytimePlanner(net, planner, timer) if mode == "auto" else None
        own = (programs or {}).get(mode)
        self.programs, self.note = own is not None, "" if own else note
        installed = decision.reacting(net) if mode == "prior" else decision.planning(net, planner)
        self.decide: Decide = own or installed
        self._decide = jax.jit(self.decide, compiler_options=options)
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
        **options: Any,
    ) -> "Controller":
        """From a run directory, a checkpoint or a bundle, verified.

        A bundle's own programs run only if `trust` is given or its `digest` is known, and with
        its own planner settings in mode plan or prior; else the installed code runs its
        parameters, and `note` says why. `contract` replaces the one that comes with it (to
        calibrate a run, see `guard.surprise`). Raises ConfigError, CheckpointError.
        """
        found = open_path(str(path), mode, planner, trust, digest)
        return cls(
            contract or found.contract,
            found.trained.net,
            found.trained.params,
            found.planner,
            mode=mode,
            deadline_ms=deadline_ms,
            seed=seed,
            safety=safety,
            programs=found.programs,
            note=found.note,
            **options,
        )

    def reset(self, seed: int | None = None) -> None:
        """A new episode: plan, random streams and what the guard compares with begin again."""
        self.seed = self.seed if seed is None else seed
        check("seed", self.seed, Seed)
        self._memory = jax.device_put(decision.init_memory(self.net, self.planner, self.seed))
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
        obs, given = np.zeros(self.contract.obs.shape, np.float32), self.guard.zero
        memory = self._memory
        for repeat in range(3):  # once from numbers of ours, then from those a program gave back
            jax.device_get(self._reflex(self._params, obs))
            if self.anytime is None:
                inputs = (memory, obs, given, np.int32(repeat > 0))
                _, memory = jax.block_until_ready(self._decide(self._params, *inputs))
        if self.anytime is not None:
            self.anytime.warmup(self._params, memory, obs, given)
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

        `obs` None says that none came. `stamp` is when it was measured on the controller's
        clock, `sequence` its number. `deadline_ms` from now replaces the controller's. `now` and
        `work` (of a `Tick`) replace the clocks when a recording is replayed.
        """
        if not self._warm:
            self.warmup()
        begin = self._timer()
        with self._compiled:
            return self._tick(begin, obs, stamp, sequence, now, deadline_ms, work)

    @property
    def compilations(self) -> int:
        """Programs compiled by `act` since the warm-up; stays 0."""
        return self._compiled.count

    def get_state(self) -> dict[str, Any]:
        """Everything that decides the actions to come, in plain values and arrays."""
        leaves = decision.leaves_of(self._memory)
        good = {} if self._good is None else {"obs": self._good}
        own = {"elapsed": self._elapsed, "seed": self.seed, "above": self.monitor.above}
        return leaves | good | own | self.guard.get_state()

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go back to what `get_state` gave. Raises KeyError, ValueError for another's."""
        self._memory: Memory = jax.device_put(decision.memory_of(self._memory, state))
        self._elapsed, self.seed, self._good = state["elapsed"], state["seed"], state.get("obs")
        self.monitor.above = state["above"]
        self.guard.set_state(state)

    def _tick(self, begin: float, obs, stamp, sequence, now, deadline_ms, work) -> np.ndarray:
        guard, made = self.guard, None
        budget = self._budget(begin, deadline_ms)
        faults = guard.observe(obs, stamp, sequence, self.clock() if now is None else now)
        taken = False
        if not faults and guard.state != "stopped":
            seen = np.array(obs, np.float32)
            made = self._compute(seen, Budget(budget, work))
            taken = self._take(seen, made)
        computed = self._timer()
        answer, done = guard.filter(made and made.action, self._fallback(made))
        self._elapsed += bool(self._elapsed or taken)
        end = self._timer()
        self.last = tick_of(guard, made, done, 1e3 * (end - begin), end > budget)
        self.counters[self.last.source] += 1
        self.counters["late"] += self.last.late
        if self.anytime is not None and work is None:
            self.anytime.pace.learn("rest", self._timer() - computed)
        return answer

    def _take(self, obs: np.ndarray, made: Made) -> bool:
        """Remember a decision; one without a valid plan is a bad tick, of which nothing stays."""
        self.monitor.watch(float(made.report[0]), self.guard)
        if made.no_plan and "no_plan" in self.guard.known:
            self.guard.report("no_plan", "no action sequence has a finite value")
            return False
        self._good, self._memory, self._elapsed = obs, made.memory, 0
        return True

    def _budget(self, begin: float, deadline_ms: float | None) -> float:
        """When this tick has to be over."""
        if deadline_ms is None:
            usual = 1e3 * SHARE * self.contract.period if self.anytime else math.inf
            deadline_ms = self.deadline_ms or usual
        return begin + deadline_ms / 1e3

    def _compute(self, obs: np.ndarray, budget: Budget) -> Made:
        given = self.guard.last
        if self.anytime is not None:
            arguments = (self._params, self._memory, obs, given, self._elapsed)
            return self.anytime.decide(*arguments, budget)
        made, memory = self._decide(self._params, self._memory, obs, given, np.int32(self._elapsed))
        report = np.asarray(made.report)
        work = PRIOR if self.mode == "prior" else int(report[-1])
        return Made(np.asarray(made.action), report, memory, self.mode, work)

    def _fallback(self, made: Made | None) -> np.ndarray | None:
        """What the prior does at the last good observation, where that may be asked for."""
        guard = self.guard
        if guard.config.fallback != "prior" or self._good is None or guard.state == "stopped":
            return None
        fine = made is not None and np.isfinite(made.action).all() and not guard.pending
        if fine and guard.state == "ok":
            return None
        return np.asarray(self._reflex(self._params, self._good))
