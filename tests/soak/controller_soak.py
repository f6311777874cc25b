"""Soaks of a whole controller: bad observations through `act`, and how fast its prior answers."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from agents.deployment.anytime import Budget
from agents.deployment.controller import Controller
from agents.deployment.describe import contract_for
from agents.deployment.guard.config import SafetyConfig
from agents.deployment.policy import Mode, Policy
from agents.evaluation.stats import percentiles
from agents.runs import networks
from agents.runs.compile import counted
from agents.runs.config import TrainConfig
from agents.runs.load import Trained
from envs.registry import make_spec
from tests.soak.safety_soak import MAX_REPORTED, Adversary, Rules
from wm.tdmpc import learner

ENV_ID = "cartpole-swingup"
BELIEVED = 2.0
"""Observations of the adversary are believed up to here."""
STOPPED_TICKS = 20


def untrained(env_id: str = ENV_ID) -> Trained:
    """A model of the usual size with the parameters that a training begins with."""
    config, spec = TrainConfig(env_id=env_id), make_spec(env_id)
    net = networks.build_networks(config, spec)
    params = learner.init(net, jax.random.key(0)).params
    return Trained(Path("untrained"), config, spec, net, params)


def controller_of(path: str, mode: Mode = "prior", **options: Any) -> Controller:
    """Of a run, checkpoint or bundle, or one that is untrained."""
    if path:
        return Controller.load(path, mode=mode, **options)
    trained = untrained()
    contract, planner = options.pop("contract", contract_for(trained)), trained.config.planner
    return Controller(Policy(contract, trained.net, trained.params, planner, mode), **options)


def soak(count: int, seed: int = 0, path: str = "") -> dict[str, Any]:
    """Send `count` bad ticks to a controller; "violations" of the result has to be empty."""
    contract = controller_of(path).contract
    size = contract.obs.shape[0]
    obs = replace(contract.obs, low=(-BELIEVED,) * size, high=(BELIEVED,) * size)
    contract = replace(contract, obs=obs)
    safety = SafetyConfig(fallback="prior", surprise="off")
    controller = controller_of(path, contract=contract, safety=safety).warmup()
    adversary, rules = Adversary(np.random.default_rng(seed), contract), Rules(safety)
    found, violations, stopped = Counter[str](), [], 0
    with counted() as compiled:
        while sum(found.values()) - found["good"] < count:
            sent = adversary.next()
            found[sent.kind] += 1
            state = rules.next(sent.kind != "good")
            action = controller.act(sent.obs, sent.stamp, sent.sequence, now=sent.now)
            bounded = np.isfinite(action).all() and (abs(action) <= 1).all()
            if not bounded or controller.guard.state != state or compiled.count:
                violations.append(f"{sent.kind}: {action} in {controller.guard.state}, not {state}")
            stopped = stopped + 1 if state == "stopped" else 0
            if stopped > STOPPED_TICKS:
                controller.rearm()
                rules.rearm()
                adversary.begin_good()
    return {
        "bad": sum(found.values()) - found["good"],
        "by_kind": dict(sorted(found.items())),
        "sources": dict(controller.counters),
        "compilations": compiled.count,
        "violations": violations[:MAX_REPORTED],
        "num_violations": len(violations),
    }


def rate(count: int, seed: int = 0, path: str = "") -> dict[str, Any]:
    """Time `count` decisions of mode prior, all of `act` and its program alone, in turn.

    The ratio says what checks, limits and records cost; it holds on a busy machine too.
    """
    controller = controller_of(path, safety=SafetyConfig(surprise="off")).warmup()
    rng, timer = np.random.default_rng(seed), controller.policy.timer
    acts, programs, inputs = [], [], controller.policy.example(controller.guard.zero)
    with counted() as compiled:
        for _ in range(count):
            obs = rng.uniform(-1, 1, controller.contract.obs.shape).astype(np.float32)
            begin = timer()
            controller.act(obs)
            middle = timer()
            controller.policy.compute(inputs._replace(obs=obs), Budget(np.inf))
            acts.append(1e3 * (middle - begin))
            programs.append(1e3 * (timer() - middle))
    whole, alone = percentiles(acts), percentiles(programs)
    return {
        "act_ms": whole,
        "program_ms": alone,
        "act_over_program_p50": whole["p50"] / alone["p50"],
        "rate_hz_p50": 1e3 / whole["p50"],
        "rate_hz_p99": 1e3 / whole["p99"],
        "compilations": compiled.count,
        "violations": [],
    }
