"""A trained model compiled to control: what all controllers of it share, without any state."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import numpy as np

from agents.deployment import decision
from agents.deployment.anytime import AnytimePlanner, Budget, Decision
from agents.deployment.bundle import load as bundle
from agents.deployment.contract import Contract
from agents.deployment.decision import Decide, Inputs
from agents.runs.bounds import check
from agents.runs.compile import cpu_options
from agents.runs.config import PlannerOverrides
from planning.config import PlannerConfig
from wm.tdmpc.model import Networks

Mode = Literal["plan", "prior", "auto"]


class Policy:
    """Observations to actions by one model, in one mode.

    Attributes:
        decide: what a tick computes, before it is compiled; of no use in mode auto.
        exported: whether that is a bundle's own program.
        note: why it is not, in words; empty where there is none, or it is.
        anytime: the planner of mode auto.
    """

    def __init__(
        self,
        contract: Contract,
        net: Networks,
        params: Any,
        planner: PlannerConfig,
        mode: Mode = "plan",
        *,
        programs: Mapping[str, Decide] | None = None,
        note: str = "",
        timer: Callable[[], float] = time.perf_counter,
    ):
        """Raises ConfigError for an unknown mode.

        `programs` replaces the installed code of modes plan and prior; `note` says why there
        are none.
        """
        check("mode", mode, Mode)
        self.contract, self.planner, self.mode, self.timer = contract, planner, mode, timer
        self.params, self._net = jax.device_put(params), net
        own = (programs or {}).get(mode)
        self.exported, self.note = own is not None, "" if own else note
        by_planner, by_prior = decision.planner_policy(net, planner), decision.prior_policy(net)
        self.decide = own or (by_prior if mode == "prior" else by_planner)
        options = cpu_options()
        self._decide = jax.jit(self.decide, compiler_options=options)
        self._prior_action = jax.jit(decision.prior_action(net), compiler_options=options)
        self.anytime = AnytimePlanner(net, planner, timer) if mode == "auto" else None

    @classmethod
    def load(
        cls,
        path: str,
        mode: Mode = "plan",
        planner: PlannerOverrides | None = None,
        trust: bool = False,
        digest: str = "",
        contract: Contract | None = None,
    ) -> "Policy":
        """From a run directory, a checkpoint or a bundle, verified.

        A bundle's own programs run only if `trust` is given or its `digest` is known, and with
        its own planner settings in mode plan or prior; else the installed code runs its
        parameters, and `note` says why. `contract` replaces the one that comes with it. Raises
        ConfigError, CheckpointError.
        """
        found = bundle.open_path(path, trust, digest)
        trained, programs, note = found.trained, found.programs, found.note
        settings = (planner or PlannerOverrides()).apply(trained.config.planner)
        if programs and settings != trained.config.planner:
            programs, note = None, f"its programs have other planner settings: {bundle.INSTEAD}"
        elif programs and mode not in programs:
            programs, note = None, f"its programs are not for mode {mode}: {bundle.INSTEAD}"
        contract, given = contract or found.contract, {"programs": programs, "note": note}
        return cls(contract, trained.net, trained.params, settings, mode, **given)

    def init_state(self, seed: int) -> decision.ControllerState:
        """The state before the first decision."""
        return jax.device_put(decision.init_state(self._net, self.planner, seed))

    def example(self, given: np.ndarray) -> Inputs:
        """Inputs of the right shapes, to compile with; `given` is an action."""
        obs = np.zeros(self.contract.obs.shape, np.float32)
        return Inputs(self.init_state(0), obs, given, np.int32(0))

    def warmup(self, given: np.ndarray) -> None:
        """Compile and run everything; `given` is an action [A]."""
        inputs = self.example(given)
        for repeat in range(3):  # once from numbers of ours, then from those a program gave back
            self.prior_action(inputs.obs)
            if self.anytime is None:
                inputs = inputs._replace(elapsed=np.int32(repeat > 0))
                inputs = inputs._replace(state=self._decide(self.params, *inputs)[-1])
        if self.anytime is not None:
            self.anytime.warmup(self.params, inputs)

    def prior_action(self, obs: np.ndarray) -> np.ndarray:
        """The prior's action [A] at an observation [O]."""
        return np.asarray(self._prior_action(self.params, obs))

    def compute(self, inputs: Inputs, budget: Budget) -> Decision:
        """A decision; `budget` counts in mode auto alone."""
        if self.anytime is not None:
            return self.anytime.decide(self.params, inputs, budget)
        return self.decision(*self._decide(self.params, *inputs))

    def decision(self, action: Any, report: Any, state: decision.ControllerState) -> Decision:
        """The decision that an answer of `decide` is."""
        action, report = np.asarray(action), np.asarray(report)
        return Decision(action, report, state, self.mode, int(report[-1]))
