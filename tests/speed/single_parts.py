"""How fast planning, learning and simulators run alone, as ratios measured in one process.

Machines differ and are noisy, so planning and learning stand beside the rate of a plain matrix
product, simulators beside raw MuJoCo.
"""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agents.acting.agent import make_agent
from agents.evaluation.stats import percentiles
from agents.machine.speed import seconds
from agents.training import replay as replay_lib
from agents.training.learner import make_learning
from envs.native.env import make_native
from envs.tasks.engine import quiet_mujoco
from planning.config import PlannerConfig
from wm.tdmpc import learner
from wm.tdmpc import model as tdmpc
from wm.tdmpc.config import PRESETS, LearnerConfig
from wm.tdmpc.model import Networks
from wm.types import Spec

OBS, ACTION = 17, 6  # cheetah and walker, the sizes the reference was timed at
SIMS = 256
VELOCITY_STAGE = 2  # mujoco.mjtStage.mjSTAGE_VEL: derived fields are current


def networks(preset: str, batch_size: int) -> Networks:
    """Of a preset, for the sizes that are timed."""
    config = LearnerConfig(batch_size=batch_size)
    return tdmpc.build(PRESETS[preset], config, Spec(OBS, ACTION, 0.99))


def dense_macs(params: Any) -> int:
    """Multiply-adds of one row through the dense layers of a parameter tree."""
    return sum(x.size for x in jax.tree.leaves(params) if x.ndim >= 2)


def plan_gflop(net: Networks, params: Any, config: PlannerConfig) -> float:
    """GFLOP of the matrix products in one decision of one simulator."""
    macs = {name: dense_macs(p) for name, p in params.items()}
    heads = min(2, net.config.num_heads)
    step = macs["dynamics"] + macs["reward"]
    last = macs["prior"] + macs["value"] * heads / net.config.num_heads
    scored = config.num_prior_samples + config.num_iterations * (
        config.num_samples - config.num_prior_samples
    )
    led = config.num_prior_samples * config.horizon * (macs["prior"] + step)
    return 2e-9 * (scored * (config.horizon * step + last) + led + macs["encoder"])


def plan(preset: str, config: PlannerConfig, repeats: int) -> dict[str, float]:
    """Milliseconds of one decision of one simulator, and its operations."""
    net = networks(preset, 256)
    params = learner.init(net, jax.random.key(0)).params
    agent = make_agent(net, config)
    carry, obs = agent.init_carry(1), jnp.ones((1, OBS))
    first, key = jnp.zeros(1, bool), jax.random.key(1)
    times = seconds(lambda: agent.act(params, carry, obs, first, key), repeats)
    return percentiles([1e3 * t for t in times]) | {"gflop": plan_gflop(net, params, config)}


def update(preset: str, batch_size: int, repeats: int) -> dict[str, float]:
    """Milliseconds of one learner update, sampling included."""
    net = networks(preset, batch_size)
    state = learner.init(net, jax.random.key(0))
    learning = make_learning(net, updates=1)
    replay = replay_lib.init(20_000, 4, OBS, ACTION)
    rows = jax.random.normal(jax.random.key(2), replay.rows.shape).at[..., -2:].set(0.0)
    replay = replay._replace(rows=rows, count=jnp.asarray(5000, jnp.int32))
    key = jax.random.key(3)
    return percentiles(
        [1e3 * t for t in seconds(lambda: learning.learn(state, replay, key), repeats)]
    )


def _steps_per_second(step: Callable[[], Any], steps: int) -> float:
    step()
    begin = time.perf_counter()
    for _ in range(steps):
        step()
    return steps / (time.perf_counter() - begin)


def simulators(rounds: int = 3, steps: int = 150) -> dict[str, float]:
    """Control steps a second of 256 cheetahs: ours, raw MuJoCo batches, Gymnasium; medians.

    Every contestant does one physics step a control step, and they take turns. Ours computes
    observations and rewards; its episodes end within the run, so that resets are counted.
    """
    contestants = {
        "ours": _our_step(),
        "raw": _raw_step(persistent=False),
        "raw_persistent": _raw_step(persistent=True),
        "gymnasium": _gymnasium_step(),
    }
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, step in contestants.items():
            count = max(steps // 10, 3) if name == "gymnasium" else steps
            rates[name].append(SIMS * _steps_per_second(step, count))
    return {name: float(np.median(values)) for name, values in rates.items()}


def _our_step() -> Callable[[], Any]:
    env = make_native("cheetah-run", SIMS, action_repeat=1)
    env.reset(seed=0)
    # Episodes of 1000 steps end one after another, as in a long run: about SIMS / 1000 a step.
    state = env.get_state()
    state["frames"] = (np.arange(SIMS) * 1000 // SIMS).astype(state["frames"].dtype)
    env.set_state(state)
    actions = np.random.default_rng(0).uniform(-1, 1, (SIMS, ACTION))
    return lambda: env.step(actions)


def _raw_step(persistent: bool) -> Callable[[], Any]:
    from mujoco.batch import Batch

    model = make_native("cheetah-run", 1).simulators.task.model
    batch = Batch(model, nsim=SIMS, nthread=0, persistent=persistent)
    control = batch.bind("ctrl")
    actions = np.random.default_rng(0).uniform(-1, 1, (SIMS, ACTION))

    def step() -> None:
        control[:] = actions
        batch.step(stage=VELOCITY_STAGE)

    return step


def _gymnasium_step() -> Callable[[], Any]:
    import gymnasium

    with quiet_mujoco():
        env = gymnasium.make_vec(
            "HalfCheetah-v5", num_envs=SIMS, vectorization_mode="sync", frame_skip=1
        )
    env.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1, 1, (SIMS, ACTION)).astype(np.float32)
    return lambda: env.step(actions)
