"""Where the time of a training goes: each part alone, a whole cycle in both loops, the limits.

Times are medians in one process; everything stands beside the rate of a plain matrix product that
was measured in the same run, as machines differ and are shared.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agents.acting.agent import Agent
from agents.machine import cost, speed
from agents.machine.config import ProfileConfig
from agents.runs.config import TrainConfig, preset_config
from agents.runs.directory import RunDir
from agents.runs.settings import train_config_from
from agents.runs.versions import installed
from agents.storage.files import made_directory
from agents.training.driver import jax_inputs
from agents.training.loop import stream
from agents.training.trainer import Trainer


def profile(config: ProfileConfig) -> dict[str, Any]:
    """Times, operations and shares of the peak, as a JSON-ready dict, written if that is asked for.

    Raises ConfigError, CheckpointError (settings of another version), EnvError, StorageError.
    """
    result = _measured(config, _settings(config))
    if config.out:
        out = Path(config.out)
        RunDir(made_directory(out.parent)).write_json(out.name, result)
    return result


def _measured(config: ProfileConfig, settings: TrainConfig) -> dict[str, Any]:
    before = speed.matmul_gflops()
    trainer = _warm(settings)
    parts = _parts(trainer, config.cycles)
    loops = {"host": _cycle_ms(trainer, config.cycles, fused=False)}
    if config.fused:
        twin = _warm(replace(settings, loop="fused"))
        loops["fused"] = _cycle_ms(twin, config.cycles, fused=True)
    scaling = _plan_scaling(trainer, config.sims, config.cycles) if config.sims > 1 else {}
    rate = (before + speed.matmul_gflops()) / 2
    counted = _counted(trainer)
    return {
        "env_id": settings.env_id,
        "preset": settings.preset,
        "params": trainer.num_params,
        "num_envs": settings.num_envs,
        "backend": trainer.spec.backend,
        "device": jax.devices()[0].device_kind,
        "matmul_gflops": rate,
        "ms": parts,
        "cycle_ms": loops,
        "fused_over_host": loops["host"] / loops["fused"] if config.fused else None,
        "gflop": counted,
        "share_of_matmul": {
            name: gflop / (parts[name] / 1e3) / rate for name, gflop in counted.items()
        },
        **scaling,
        "versions": installed(),
    }


def _settings(config: ProfileConfig) -> TrainConfig:
    """The training that is profiled: no evaluation, learning as soon as it can."""
    if Path(config.target).is_dir():
        run = RunDir.open(config.target)
        base = train_config_from(run.read_table(run.config.name), str(run.config))
    else:
        base = preset_config(config.preset, env_id=config.target)
    count = config.num_envs or base.num_envs
    rows = base.learner.horizon + 2
    capacity = min(base.replay_capacity, max(100_000, count * rows))
    return replace(
        base,
        num_envs=count,
        devices=1,
        seed_steps=count * rows,
        replay_capacity=capacity,
        loop="host",
        planner=config.planner.apply(base.planner),
    )


def _warm(settings: TrainConfig) -> Trainer:
    """A trainer past its random decisions, everything compiled."""
    trainer = Trainer(settings)
    for _ in range(settings.learner.horizon + 4):  # random decisions, then the first updates
        trainer.cycle()
    for _ in range(3):
        trainer.advance(2**30)
    return trainer


def _median_ms(run: Callable[[], Any], repeats: int) -> float:
    return 1e3 * float(np.median(speed.seconds(run, repeats)))


def _parts(trainer: Trainer, repeats: int) -> dict[str, float]:
    """Milliseconds of each part of a cycle, alone, with nothing running beside it."""
    driver, learning = trainer.driver, trainer.learning
    key, obs = stream(trainer.key, 9, 0), jax_inputs(driver)
    params, carry = trainer.loop.train.params, trainer.loop.carry
    rows = jnp.zeros(trainer.loop.replay.rows.shape[1:], jnp.float32)
    actions, _, _ = trainer.agent.act(params, carry, *obs, key)
    random = driver.random_actions(0)

    def copy() -> Any:
        np.asarray(actions + 0)  # a fresh array: one that was read is kept on the host
        replay = learning.add(trainer.loop.replay, rows)
        trainer.loop = trainer.loop._replace(replay=replay)
        return jax_inputs(driver), trainer.loop.replay.count

    def learn() -> Any:
        return learning.learn(trainer.loop.train, trainer.loop.replay, key)

    return {
        "simulate": _median_ms(lambda: driver.step(random).decisions, repeats),
        "plan": _median_ms(lambda: trainer.agent.act(params, carry, *obs, key), repeats),
        "learn": _median_ms(learn, repeats),
        "copy": _median_ms(copy, repeats),
    }


def _cycle_ms(trainer: Trainer, cycles: int, fused: bool) -> float:
    """Milliseconds of a whole cycle: planning, learning, simulating, storing."""
    times = []
    for _ in range(5):
        begin, before = time.perf_counter(), trainer.counters.cycles
        goal = before + max(cycles // 5, 1)
        while trainer.counters.cycles < goal:
            if fused and trainer.fused is not None:
                trainer.fused.chunk = goal - trainer.counters.cycles
            trainer.advance(2**30)
        jax.block_until_ready(trainer.loop.train)
        times.append((time.perf_counter() - begin) / (trainer.counters.cycles - before))
    return 1e3 * float(np.median(times))


def _plan_scaling(trainer: Trainer, sims: int, repeats: int) -> dict[str, Any]:
    """Milliseconds a simulator of planning for one and for many in one call."""
    agent, params = trainer.agent, trainer.loop.train.params
    one, many = (_plan_ms(trainer, agent, params, count, repeats) for count in (1, sims))
    return {
        "plan_ms_a_simulator": {"1": one, str(sims): many / sims},
        "plan_many_over_one": many / sims / one,
    }


def _plan_ms(trainer: Trainer, agent: Agent, params: Any, count: int, repeats: int) -> float:
    carry, key = agent.init_carry(count), stream(trainer.key, 9, 1)
    obs = jnp.ones((count, trainer.spec.obs_dim))
    first = jnp.zeros(count, bool)
    return _median_ms(lambda: agent.act(params, carry, obs, first, key), repeats)


def _counted(trainer: Trainer) -> dict[str, float]:
    """GFLOP of matrix products in the planning and in the learning of one cycle."""
    config, net = trainer.config, trainer.net
    plan = config.num_envs * cost.plan(net, config.planner)
    return {"plan": plan / 1e9, "learn": trainer.learning.updates * cost.update(net) / 1e9}
