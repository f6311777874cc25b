"""Soak of the guard: very many bad observations, and every promise checked on every tick.

An adversary knows what is wrong with what it sends; a second, independent account of the rules
says which state the guard has to be in and what it may answer.
"""

from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from agents.deployment.contract import ActionLimits, Contract, ObsSchema
from agents.deployment.guard.config import SafetyConfig
from agents.deployment.guard.safety import Guard

OBS_DIM, PERIOD = 5, 0.02
MAX_REPORTED = 10


class Sent(NamedTuple):
    """One tick of the adversary."""

    kind: str
    """good, the fault that has to be found, or `action` (a good observation, a bad action)."""
    obs: Any
    stamp: float
    sequence: int
    now: float
    action: Any


class Adversary:
    """Sends streaks of good and bad ticks; half of the bad ones are of one kind alone."""

    KINDS = "finite missing dtype shape range stamp stale future duplicated reordered".split()

    def __init__(self, rng: np.random.Generator, contract: Contract, kinds: tuple[str, ...] = ()):
        """`kinds` are sent besides `KINDS`."""
        self._rng, self._kinds = rng, [*self.KINDS, *kinds]
        self._obs_dim, self._action_dim = contract.obs.shape[0], contract.action.dim
        self._period = contract.period
        self._now, self._newest, self._left = 100.0, 0, 0
        self._kind: str | None = None

    def begin_good(self) -> None:
        """A good streak comes next: a re-armed guard has to learn where the numbers are."""
        self._left, self._kind = 0, None

    def next(self) -> Sent:
        """The next tick."""
        rng = self._rng
        self._now += self._period
        if self._left == 0:
            self._left = int(rng.geometric(0.2))
            self._kind = "good" if self._kind != "good" else rng.choice([*self._kinds, "any"])
        self._left -= 1
        kind = str(rng.choice(self._kinds) if self._kind == "any" else self._kind)
        obs = rng.uniform(-1, 1, self._obs_dim).astype(rng.choice(["float32", "float64"]))
        stamp, action = self._now - rng.uniform(0, self._period), rng.normal(0, 1, self._action_dim)
        sequence, before = self._newest + int(rng.integers(1, 4)), self._newest
        if kind == "duplicated":
            sequence = before
        elif kind == "reordered":
            sequence = before - int(rng.integers(1, 1000))
        elif kind in ("stamp", "stale", "future"):
            times = {"stamp": [np.nan, np.inf], "stale": [self._now - 1, -1e30]}
            stamp = float(rng.choice(times.get(kind, [self._now + 1, 1e30])))
        elif kind == "action":
            action = self._bad_action(action)
        elif kind != "good":
            obs = self._bad_obs(kind, obs)
        self._newest = max(self._newest, sequence)
        return Sent(kind, obs, stamp, sequence, self._now, action)

    def _bad_obs(self, kind: str, obs: np.ndarray) -> Any:
        rng = self._rng
        if kind == "missing":
            return None
        if kind == "finite":
            obs = obs.astype(np.float64)
            obs[rng.integers(len(obs))] = rng.choice([np.nan, np.inf, -np.inf, 1e39, -1e300])
            return obs
        if kind == "range":
            obs[rng.integers(len(obs))] = rng.choice([3.0, -3.0, 1e6, -1e30])
            return obs
        if kind == "shape":
            size = len(obs)
            shapes = [(0,), (size - 1,), (size + 1,), (1, size), (size, 1), ()]
            return np.zeros(shapes[rng.integers(len(shapes))], obs.dtype)
        strange = [
            obs.astype(np.int64),
            obs.astype(complex),
            obs.astype(">f8"),
            obs.astype(object),
            obs > 0,
            np.array(["0.0"] * len(obs)),
            "observation",
            {"obs": obs},
            [[0.0], [0.0, 1.0]],
        ]
        return strange[rng.integers(len(strange))]

    def _bad_action(self, action: np.ndarray) -> Any:
        bad = action.copy()
        bad[self._rng.integers(len(bad))] = self._rng.choice([np.nan, np.inf, -1e39])
        strange = [None, bad, action[:-1], action.astype(complex), "left", action.astype(object)]
        return strange[self._rng.integers(len(strange))]


class Rules:
    """A second model of the guard: counts of bad and good ticks."""

    def __init__(self, config: SafetyConfig):
        self._config = config
        self.rearm()

    def rearm(self) -> None:
        """As after a person's decision."""
        self.state, self._bad, self._good = "ok", 0, 0

    def next(self, bad: bool) -> str:
        """The state of a tick."""
        config = self._config
        if self.state == "stopped":
            return self.state
        self._good = 0 if bad else self._good + 1
        if not bad and (self.state != "fallback" or self._good == config.recover_after):
            self.state, self._bad = "ok", 0
            return self.state
        self._bad += bad
        if self._bad >= config.stop_after:
            self.state = "stopped"
        elif self._bad >= config.fallback_after:
            self.state = "fallback"
        elif bad and self.state != "fallback":
            self.state = "hold"
        return self.state


def contract(action_dim: int, rate: float | None) -> Contract:
    """A contract of no robot in particular; actions lie in [-1, 1] but for the first entry."""
    low, high = (-0.3,) + (-1.0,) * (action_dim - 1), (0.1,) + (1.0,) * (action_dim - 1)
    return Contract(
        env_id="soak",
        obs=ObsSchema(
            (("all", OBS_DIM),), (OBS_DIM,), low=(-2.0,) * OBS_DIM, high=(2.0,) * OBS_DIM
        ),
        action=ActionLimits(low, high, safe=(-0.2,) * action_dim, rate=(rate,) * action_dim),
        control_dt=PERIOD,
        action_repeat=1,
        max_obs_age=2 * PERIOD,
        params_digest="0" * 64,
        config_digest="0" * 64,
        settings={},
        spec={},
        versions={},
    )


CASES: tuple[tuple[SafetyConfig, float | None], ...] = (
    (SafetyConfig(), None),
    (SafetyConfig(fallback="safe"), 5.0),
    (SafetyConfig(fallback="prior", fallback_after=1, stop_after=4, recover_after=1), None),
    (SafetyConfig(fallback="zero", fallback_after=2, stop_after=50, action_rate=2.0), 20.0),
)
"""Settings, and the contract's rate limit, that take turns."""


def soak_guard(count: int, seed: int = 0, path: str = "") -> dict[str, Any]:
    """Send `count` bad ticks to guards; "violations" of the result has to be empty.

    A guard has no parameters: `path` is not used.
    """
    del path
    rng, found = np.random.default_rng(seed), Counter[str]()
    violations: list[str] = []
    share = -(-count // len(CASES))
    for config, rate in CASES:
        action_dim = int(rng.integers(2, 7))
        trial = _Trial(contract(action_dim, rate), config, rng, violations)
        trial.run(share)
        found += trial.found
    return {
        "bad": sum(found.values()) - found["good"],
        "by_kind": dict(sorted(found.items())),
        "violations": violations[:MAX_REPORTED],
        "num_violations": len(violations),
        "seed": seed,
    }


class _Trial:
    """One guard under attack."""

    def __init__(self, contract: Contract, config: SafetyConfig, rng, violations: list[str]):
        self.guard, self.rules = Guard(contract, config), Rules(config)
        self.adversary = Adversary(rng, contract, ("action",))
        self.fallback = rng.uniform(-0.2, 0.1, contract.action.dim).astype(np.float32)
        self.previous = np.zeros(contract.action.dim)
        self.found: Counter[str] = Counter()
        self._violations = violations
        self._stopped = 0
        limits = contract.action
        self._low, self._high = np.array(limits.low), np.array(limits.high)
        rates = [r for r in (*limits.rate, config.action_rate) if r]
        self._step = min(rates) * contract.period if rates else np.inf

    def run(self, count: int) -> None:
        """Until `count` bad ticks were sent."""
        while sum(self.found.values()) - self.found["good"] < count:
            sent = self.adversary.next()
            self.found[sent.kind] += 1
            faults = self.guard.observe(sent.obs, sent.stamp, sent.sequence, sent.now)
            wanted = [] if sent.kind in ("good", "action") else [sent.kind]
            if faults != wanted:
                self._violations.append(f"{sent.kind}: found {faults}")
            state = self.rules.next(sent.kind != "good")
            answer, _ = self.guard.filter(sent.action, self.fallback)
            self._check(sent, state, answer)
            self.previous = answer.astype(float)
            self._stopped = self._stopped + 1 if state == "stopped" else 0
            if self._stopped > 20:
                self.guard.rearm()
                self.rules.rearm()
                self.adversary.begin_good()

    def _check(self, sent: Sent, state: str, answer: np.ndarray) -> None:
        """Every promise, on one answer."""
        promises = {
            "finite": bool(np.isfinite(answer).all()) and answer.dtype == np.float32,
            "in limits": bool((answer >= self._low).all() and (answer <= self._high).all()),
            "at most its rate": bool(
                (np.abs(answer - self.previous) <= self._step * (1 + 1e-5) + 1e-6).all()
            ),
            f"state {state}": self.guard.state == state,
            "what the state answers": self._answers(state, sent, answer),
        }
        for name, kept in promises.items():
            if not kept:
                self._violations.append(f"{sent.kind} in {state}: not {name}: {answer}")

    def _answers(self, state: str, sent: Sent, answer: np.ndarray) -> bool:
        """Whether the answer is the one of this state, as near as the rate allows."""
        config = self.guard.config
        aim: Any = sent.action
        if state == "hold":
            aim = self.previous
        elif state == "stopped" or (state == "fallback" and config.fallback == "safe"):
            aim = np.full(len(answer), -0.2)
        elif state == "fallback":
            aim = self.fallback if config.fallback == "prior" else np.zeros(len(answer))
        aim = np.clip(aim, self._low, self._high)
        aim = np.clip(aim, self.previous - self._step, self.previous + self._step)
        return bool(np.allclose(answer, aim, atol=1e-6))
