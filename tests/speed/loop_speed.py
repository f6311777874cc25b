"""Time saved by running together: loops, simulators in a call, seeds in a program, as ratios.

Contestants take turns in one process, so that what else the machine does meets all of them. A
round's ratio is of clock times and of processor times; the result is the median over rounds.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agents.acting.agent import make_agent
from agents.runs import compile as compiling
from agents.runs.config import TrainConfig
from agents.training.parallel.population import Population
from agents.training.trainer import Trainer
from planning.config import PlannerConfig
from tests.speed import single_parts
from wm.tdmpc import learner
from wm.tdmpc.config import LearnerConfig, ModelConfig

Run = Callable[[], Any]
BATCH = 64  # simulators planned for in one call
SEEDS = 4
MINIATURE = {
    "model": ModelConfig(latent_dim=16, encoder_width=16, mlp_width=16, num_bins=21),
    "learner": LearnerConfig(batch_size=8),
    "planner": PlannerConfig(num_samples=16, num_prior_samples=4, num_elites=4, num_iterations=2),
}
"""So small that what is measured is the dispatch of programs."""


def spent(run: Run) -> np.ndarray:
    """Clock and processor seconds [2] of one run."""
    clock, processor = time.perf_counter(), time.process_time()
    jax.block_until_ready(run())
    return np.array([time.perf_counter() - clock, time.process_time() - processor])


def ratio(one: Run, other: Run, rounds: int, share: float = 1.0) -> dict[str, float]:
    """How many times `other`'s time goes into share x `one`'s: above 1, `one` is the slower."""
    spent(one)
    spent(other)
    found = [share * spent(one) / spent(other) for _ in range(rounds)]
    return {"clock": median(x[0] for x in found), "processor": median(x[1] for x in found)}


def config(**changes: Any) -> TrainConfig:
    """A training on cartpole-swingup whose first decisions at random are few."""
    base = TrainConfig(env_id="cartpole-swingup", eval_every=0, seed_steps=200, video=False)
    return replace(base, **changes)


def warm(trainer: Trainer, decisions: int = 600) -> Trainer:
    """Past its random phase and the updates owed for it, everything compiled."""
    while trainer.counters.env_steps < decisions:
        trainer.advance(decisions)
    return trainer


def cycles(trainer: Trainer, count: int) -> Run:
    """`count` cycles of a trainer."""

    def run() -> Any:
        goal = trainer.counters.env_steps + count * trainer.config.num_envs
        while trainer.counters.env_steps < goal:
            trainer.advance(goal)
        return trainer.loop.train.params

    return run


def fused_over_host(rounds: int, count: int = 40, **changes: Any) -> dict[str, float]:
    """Time of the host loop over that of the fused one, native simulators."""
    host, fused = (warm(Trainer(config(loop=x, **changes))) for x in ("host", "fused"))
    return ratio(cycles(host, count), cycles(fused, count), rounds)


def together_over_alone(rounds: int) -> dict[str, float]:
    """Time a simulator of one call for BATCH of them, over that of a call for one."""
    net = single_parts.networks("tiny", 128)
    params = learner.init(net, jax.random.key(0)).params
    agent = make_agent(net, PlannerConfig())

    def call(simulators: int, calls: int) -> Run:
        carry, key = agent.init_carry(simulators), jax.random.key(1)
        obs, first = jnp.ones((simulators, single_parts.OBS)), jnp.zeros(simulators, bool)
        return lambda: [agent.act(params, carry, obs, first, key) for _ in range(calls)]

    return ratio(call(BATCH, 4), call(1, 4 * 8), rounds, share=8 / BATCH)


def population_over_runs(rounds: int, count: int = 20, **changes: Any) -> dict[str, float]:
    """Time of SEEDS seeds in one program over that of as many runs one after another."""
    compiling.cores_as_devices(SEEDS)
    alone = [warm(Trainer(config(seed=seed, **changes))) for seed in range(SEEDS)]
    pop = Population([warm(Trainer(config(seed=seed, **changes))) for seed in range(SEEDS)])
    live = np.ones(SEEDS, bool)

    def together() -> Any:
        for _ in range(count):
            pop.cycle(live)
        return pop.loop.train.params

    each = [cycles(trainer, count) for trainer in alone]
    return ratio(together, lambda: [run() for run in each], rounds)


def measure(rounds: int = 7) -> dict[str, dict[str, float]]:
    """All ratios by name."""
    return {
        "host loop / fused loop, tiny preset": fused_over_host(rounds),
        "host loop / fused loop, miniature": fused_over_host(rounds, 200, **MINIATURE),
        f"a simulator of {BATCH} in a call / one alone": together_over_alone(rounds),
        f"{SEEDS} seeds in a program / {SEEDS} runs": population_over_runs(rounds),
    }
