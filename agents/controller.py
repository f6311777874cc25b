"""A trained model as a controller: `act(obs) -> action`, checked, bounded, never compiling late.

    controller = Controller.load("runs/ID", mode="plan").warmup()
    action = controller.act(obs)

Everything is compiled before the first tick. A guard (`agents.safety`) stands between the model
and the robot on every tick.
"""

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import Any, Literal

import jax
import numpy as np

from agents import decision
from agents.compiling import COMPILE_EVENT, cpu_options
from agents.config import ConfigError, PlannerOverrides, check_seed
from agents.config import digest as config_digest
from agents.contract import ActionLimits, Contract, ObsSchema
from agents.load import Trained, load
from agents.safety import Guard
from agents.safety_config import SafetyConfig
from agents.versions import installed
from planning.config import PlannerConfig
from planning.types import PlanInfo
from wm.tdmpc import Networks

Mode = Literal["plan", "prior", "auto"]
MODES = ("plan", "prior", "auto")


@dataclass(frozen=True)
class Tick:
    """What happened on one tick."""

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
    iterations: int
    """Refinements of the plan."""
    report: np.ndarray
    """[8] the fields of `PlanInfo` (zeros where no plan was made)."""

    @property
    def info(self) -> PlanInfo:
        """What the planner reports."""
        return PlanInfo(*self.report)


def params_digest(params: Any) -> str:
    """SHA-256 of parameters: name, type, shape and bytes of every leaf, in the order of names."""
    found = {jax.tree_util.keystr(k): np.asarray(v) for k, v in jax.tree.leaves_with_path(params)}
    digest = hashlib.sha256()
    for name in sorted(found):
        leaf = np.ascontiguousarray(found[name])
        digest.update(f"{name} {leaf.dtype.name} {list(found[name].shape)}\n".encode())
        digest.update(leaf.tobytes())
    return digest.hexdigest()


def contract_for(trained: Trained, **changes: Any) -> Contract:
    """The contract of a trained model: its spec's sizes and times, actions in [-1, 1].

    Ranges of observations and the threshold of surprise are unknown (unbounded, none) until
    they are calibrated (`agents.surprise`); `changes` replaces fields.
    """
    spec = trained.spec
    period = spec.control_dt * spec.action_repeat
    contract = Contract(
        env_id=spec.env_id,
        obs=ObsSchema(names=spec.obs_names, shape=(spec.obs_dim,)),
        action=ActionLimits(low=(-1.0,) * spec.action_dim, high=(1.0,) * spec.action_dim),
        control_dt=spec.control_dt,
        action_repeat=spec.action_repeat,
        max_obs_age=2 * period,
        params_digest=params_digest(trained.params),
        config_digest=config_digest(trained.config),
        settings=asdict(trained.config) | {"run_dir": ""},  # where it lay is nobody's business
        spec=spec.to_json(),
        versions=installed(),
        created=date.today().isoformat(),
    )
    return replace(contract, **changes)


class Controller:
    """A controller for one robot.

    Attributes:
        contract: what it expects and promises.
        guard: its safety layer.
        last: the last `Tick`.
        counters: ticks by source, deadlines missed; the guard's own are in `guard.counters`.
        compilations: programs compiled by `act` since the warm-up; stays 0.
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
        clock: Callable[[], float] = time.monotonic,
    ):
        if mode not in MODES:
            raise ConfigError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
        check_seed(seed)
        self.contract, self.net, self.planner, self.mode = contract, net, planner, mode
        self.deadline_ms, self.seed, self.clock = deadline_ms, seed, clock
        self.guard = Guard(contract, safety)
        self.counters: Counter[str] = Counter()
        self.last: Tick | None = None
        self.compilations = 0
        self._params = jax.device_put(params)
        decide = decision.reacting(net) if mode == "prior" else decision.planning(net, planner)
        self._decide = jax.jit(decide, compiler_options=cpu_options())
        self._reflex = jax.jit(decision.reflex(net), compiler_options=cpu_options())
        self._warm = False
        _listen()
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
        **options: Any,
    ) -> "Controller":
        """From a run directory or a checkpoint, verified.

        Raises ConfigError, CheckpointError (ContractError).
        """
        trained = load(str(path))
        settings = (planner or PlannerOverrides()).apply(trained.config.planner)
        return cls(
            contract_for(trained),
            trained.net,
            trained.params,
            settings,
            mode=mode,
            deadline_ms=deadline_ms,
            seed=seed,
            safety=safety,
            **options,
        )

    def reset(self, seed: int | None = None) -> None:
        """A new episode: plan, random streams and what the guard compares with begin again."""
        self.seed = self.seed if seed is None else seed
        check_seed(self.seed)
        self._memory = jax.device_put(decision.init_memory(self.net, self.planner, self.seed))
        self._elapsed = 0
        self._good: np.ndarray | None = None
        self.guard.reset()

    def rearm(self) -> None:
        """Leave a safety stop; the plan starts afresh."""
        self.guard.rearm()
        self._elapsed = 0

    def warmup(self) -> "Controller":
        """Compile and run everything that `act` may need; its time does not count."""
        obs = np.zeros(self.contract.obs.shape, np.float32)
        for _ in range(3):
            self._compute(obs, self._memory, 0)
            np.asarray(self._reflex(self._params, obs))
        self._warm = True
        return self

    def act(
        self,
        obs: Any,
        stamp: float | None = None,
        sequence: int | None = None,
        *,
        now: float | None = None,
    ) -> np.ndarray:
        """The action [A] float32 of this tick; finite and inside the contract, whatever comes.

        `obs` None says that none came. `stamp` is when it was measured on the controller's
        clock, `sequence` its number. `now` replaces the clock when a recording is replayed.
        """
        if not self._warm:
            self.warmup()
        begin = time.perf_counter()
        _counting.controller = self
        try:
            return self._tick(obs, stamp, sequence, now, begin)
        finally:
            _counting.controller = None

    def _tick(self, obs, stamp, sequence, now, begin: float) -> np.ndarray:
        faults = self.guard.observe(obs, stamp, sequence, self.clock() if now is None else now)
        action, report, fallback = None, _NO_REPORT, None
        if not faults and self.guard.state != "stopped":
            good = np.asarray(obs, np.float32)
            action, report, self._memory = self._compute(good, self._memory, self._elapsed)
            self._good, self._elapsed = good, 0
        answer, done = self.guard.filter(action, fallback)
        self._elapsed += bool(self._elapsed or self._good is not None)
        self._record(begin, faults, done, report)
        return answer

    def _compute(self, obs: np.ndarray, memory, elapsed: int):
        made, memory = self._decide(self._params, memory, obs, self.guard.last, np.int32(elapsed))
        return np.asarray(made.action), np.asarray(made.report), memory

    def _record(self, begin: float, faults, done: list[str], report: np.ndarray) -> None:
        source = next((kind for kind in done if kind in ("hold", "fallback", "stop")), "")
        source = source or ("prior" if self.mode == "prior" else "plan")
        self.counters[source] += 1
        self.last = Tick(
            number=self.guard.counters["ticks"],
            source=source,
            state=self.guard.state,
            faults=tuple(faults),
            interventions=tuple(done),
            surprise=float(report[0]),
            compute_ms=1e3 * (time.perf_counter() - begin),
            iterations=int(report[-1]),
            report=report[1:],
        )


_NO_REPORT = np.zeros(1 + len(PlanInfo._fields), np.float32)
_counting = threading.local()
_listening = threading.Lock()


def _listen() -> None:
    """Count compilations for the controller that is acting in the thread they happen in."""
    if _listening.acquire(blocking=False):  # once a process

        def compiled(event: str, duration_secs: float, **_: str | int) -> None:
            controller = getattr(_counting, "controller", None)
            if event == COMPILE_EVENT and controller is not None:
                controller.compilations += 1

        jax.monitoring.register_event_duration_secs_listener(compiled)
