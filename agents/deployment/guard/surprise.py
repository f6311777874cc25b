"""Surprise: how far the world is from what the model predicted, in the model's own latent.

One number a tick, the root mean square distance of the observed latent from the one predicted for
the action that was really given. Held-out episodes say how large it gets in nominal operation;
what stays above that is another world than the one learned: out of distribution.
"""

import logging
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agents.acting.agent import agent_for
from agents.deployment.contract import Contract, Surprise
from agents.deployment.guard.config import SafetyConfig
from agents.deployment.guard.safety import Guard
from agents.evaluation.evaluate import evaluate
from agents.runs.config import ConfigError
from agents.runs.load import Trained, check_spec
from envs.registry import make_vec
from wm.tdmpc.model import Networks

CALIBRATION_SEED = 20_000
"""Seeds of calibration episodes start here, apart from those of training and evaluation."""
QUANTILE, MARGIN = 0.999, 1.5
MODES = ("plan", "prior", "random")
"""Who acts in calibration episodes; random actions widen the ranges only."""
log = logging.getLogger("latentmpc.safety")


class Monitor:
    """Watches the surprise of one controller.

    `above` counts ticks in a row above the threshold, `alarms` how often they became too many.
    """

    def __init__(self, contract: Contract, config: SafetyConfig):
        known = contract.surprise if config.surprise != "off" else None
        self.threshold = known.threshold if known else np.inf
        self._needed = config.surprise_after
        self.alarms = self.above = 0

    def reset(self) -> None:
        """Nothing was predicted before."""
        self.above = 0

    def update(self, surprise: float) -> bool:
        """Take one tick's surprise (0: there was nothing to compare) and say whether to react.

        What is not finite is as surprising as can be.
        """
        if surprise != 0:
            self.above = 0 if surprise <= self.threshold else self.above + 1
            if self.above == self._needed:
                self.alarms += 1
                log.warning("surprise %.3g above %.3g: unlike its model", surprise, self.threshold)
        return self.above >= self._needed

    def watch(self, surprise: float, guard: Guard) -> None:
        """Take one tick's surprise, and have the guard react as it is configured to."""
        if not self.update(surprise):
            return
        detail = f"surprise {surprise:.3g}, nominal up to {self.threshold:.3g}"
        tell = guard.note if guard.config.surprise == "report" else guard.report
        tell("surprise", detail)
        if guard.config.surprise == "stop":
            guard.stop(detail)


@dataclass(frozen=True)
class Calibration:
    """Nominal operation, by held-out episodes."""

    surprise: Surprise
    low: tuple[float, ...]
    """Believable observations: as far outside those seen as they were apart, on either side."""
    high: tuple[float, ...]

    def apply(self, contract: Contract) -> Contract:
        """The contract with its ranges and its threshold."""
        obs = replace(contract.obs, low=self.low, high=self.high)
        return replace(contract, obs=obs, surprise=self.surprise)


def calibrate(trained: Trained, episodes: int, env: Any = None) -> Calibration:
    """Threshold and ranges from `episodes` episodes each of plan, prior and random actions.

    Threshold = MARGIN x QUANTILE of the surprise under plan and prior. `env` (of `episodes`
    simulators) replaces the task's own. Raises ConfigError where nothing can be concluded.
    """
    if own := env is None:
        repeat = trained.spec.action_repeat
        env = make_vec(trained.config.env_id, episodes, action_repeat=repeat)
    check_spec(trained, env.env_spec)
    logs = {}
    for mode in MODES:
        agent = agent_for(trained.net, trained.config.planner, mode)
        discount = trained.net.spec.discount
        _, logs[mode] = evaluate(agent, trained.params, env, CALIBRATION_SEED, discount)
    if own:
        env.close()
    seen = np.concatenate([log["obs"][log["running"]] for log in logs.values()])
    values = np.concatenate([surprises(trained, logs[mode]) for mode in ("plan", "prior")])
    if not len(values) or not np.isfinite(values).all() or not np.isfinite(seen).all():
        raise ConfigError(f"{trained.path} cannot be calibrated: its episodes are not finite")
    threshold = MARGIN * max(float(np.quantile(values, QUANTILE)), 1e-6)
    typical = float(np.median(values))
    found = Surprise(threshold, QUANTILE, MARGIN, episodes, CALIBRATION_SEED, typical)
    return Calibration(found, *ranges(seen))


def ranges(seen: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Lowest and highest believable value of each entry, from observations [N, O]."""
    low, high = seen.min(0).astype(float), seen.max(0).astype(float)
    least = 0.1 * np.maximum(1.0, np.maximum(np.abs(low), np.abs(high)))
    span = np.maximum(high - low, least)
    return tuple((low - span).tolist()), tuple((high + span).tolist())


def surprises(trained: Trained, log: dict[str, np.ndarray]) -> np.ndarray:
    """Surprise [N] of every step of trajectories [T, E, ...] inside an episode."""
    errors = _one_step(trained.net, trained.params, log["obs"], log["action"])
    running = log["running"]
    return np.asarray(errors)[running[:-1] & running[1:]]


@partial(jax.jit, static_argnums=0)
def _one_step(net: Networks, params: Any, obs, action):
    """Errors [T - 1, E] of obs [T, E, O], action [T, E, A]."""
    latents = net.encode(params, obs)
    expected = net.predict(params, latents[:-1], action[:-1])
    return jnp.sqrt(jnp.mean((expected - latents[1:]) ** 2, -1))
