"""Closed-loop evaluation on simulators of its own: returns, predictions, latencies."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agents.acting.agent import Agent, agent_for
from agents.evaluation import stats
from agents.evaluation.result import EvalResult
from agents.evaluation.stored_task import settle
from agents.evaluation.tasks import EvalTask, eval_tasks, pooled
from agents.runs.config import ConfigError, EvalConfig, TrainConfig
from agents.runs.directory import RunDir
from agents.runs.load import Trained, check_spec, load
from agents.runs.networks import EVAL_SEED
from agents.runs.versions import installed
from agents.storage.files import made_directory
from envs.registry import make_vec
from envs.spec import EnvError
from wm.tdmpc.model import Networks

MAX_K = 10
PAIRS = 512
LOGGED = ("obs", "action", "reward", "running", "predicted", "invalid")


def evaluate(
    agent: Agent, params: Any, env, seed: int | list[int], discount: float
) -> tuple[EvalResult, dict]:
    """One episode on each simulator of `env`; also the trajectories [T, E, ...] behind it.

    The episodes are a function of params and seed alone; a list has a seed for each.
    """
    log = _episodes(agent, params, env, seed)
    result = EvalResult(
        episode_returns=log["reward"].sum(0).tolist(),
        episode_lengths=log["running"].sum(0).tolist(),
        valid=np.logical_not(log["invalid"].any(0)).tolist(),
    )
    _compare_predictions(result, log, discount)
    return result, log


def _episodes(
    agent: Agent,
    params: Any,
    env,
    seed: int | list[int],
    decided: Callable[[int, float], bool] = lambda t, milliseconds: False,
) -> dict[str, np.ndarray]:
    """One episode on each simulator: what is LOGGED of every step, [T, E, ...].

    `decided` is called between decision and step; the episodes end there if it returns True.
    """
    obs, _ = env.reset(seed=seed)
    key = jax.random.key(seed[0] if isinstance(seed, list) else seed)
    carry, t, log = agent.init_carry(env.num_envs), 0, []
    is_first, running = np.ones(env.num_envs, bool), np.ones(env.num_envs, bool)
    while running.any():
        key_t = jax.random.fold_in(key, t)
        begin = time.perf_counter()
        action, carry, info = agent.act(
            params, carry, agent.observe(env, obs), jnp.asarray(is_first), key_t
        )
        action = np.asarray(action)
        last = decided(t, 1e3 * (time.perf_counter() - begin))
        following, reward, terminated, truncated, step_info = env.step(action)
        reward, invalid = np.where(running, reward, 0), step_info["invalid"] & running
        predicted = np.asarray(info.mean_value)
        log.append((np.asarray(obs, np.float32), action, reward, running, predicted, invalid))
        running = running & ~(terminated | truncated | last)
        obs, is_first, t = following, step_info["is_reset"], t + 1
    return {name: np.stack(rows) for name, rows in zip(LOGGED, zip(*log, strict=True), strict=True)}


def _compare_predictions(result: EvalResult, log: dict, discount: float, most: int = 300) -> None:
    """Fill predicted and realised, thinned; returns cut by a time limit are left out."""
    to_go = np.array(log["reward"], float)
    for t in reversed(range(len(to_go) - 1)):
        to_go[t] += discount * to_go[t + 1]
    effective = int(np.ceil(3 / (1 - discount)))  # beyond it, what is cut off weighs under 5 %
    times = np.arange(log["reward"].shape[0])[:, None]
    keep = log["running"] & (times < log["running"].sum(0) - effective)
    predicted, realised = log["predicted"][keep], to_go[keep]
    thin = slice(None, None, max(1, len(predicted) // most))
    result.predicted, result.realised = predicted[thin].tolist(), realised[thin].tolist()


@partial(jax.jit, static_argnums=(0,))
def _open_loop_errors(net: Networks, params, obs, actions):
    """Squared latent errors [S, K] from obs [S, K + 1, O] and actions [S, K, A]."""
    latents = net.encode(params, obs)

    def step(z, action):
        z = net.predict(params, z, action)
        return z, z

    _, rolled = jax.lax.scan(step, latents[:, 0], jnp.swapaxes(actions, 0, 1))
    error = jnp.mean((jnp.swapaxes(rolled, 0, 1) - latents[:, 1:]) ** 2, -1)
    pairs = jnp.mean((latents[:, 0] - jnp.roll(latents[:, 0], 1, axis=0)) ** 2)
    return error.mean(0) / jnp.maximum(pairs, 1e-12)


def k_step_error(net: Networks, params: Any, log: dict, seed: int = 0) -> list[float]:
    """Open-loop latent error 1..MAX_K steps ahead on evaluation trajectories."""
    lengths = log["running"].sum(0)
    if lengths.max() <= MAX_K:
        return []
    rng = np.random.default_rng(seed)
    env = rng.choice(np.flatnonzero(lengths > MAX_K), PAIRS)
    start = rng.integers(0, lengths[env] - MAX_K)
    time_index = start[:, None] + np.arange(MAX_K + 1)
    obs, action = log["obs"][time_index, env[:, None]], log["action"][time_index, env[:, None]]
    return np.asarray(_open_loop_errors(net, params, obs, action[:, :-1])).tolist()


def measure_latency(
    agent: Agent, params: Any, env, seed: int, frame_every: int, most: int | None = None
) -> tuple[list[float], list[np.ndarray], str]:
    """One episode of one simulator: milliseconds of every decision, frames, and a note.

    Every `frame_every`-th decision is rendered (0: none); where rendering fails the note says
    why and the episode goes on. Compilation is not counted. After `most` decisions it ends.
    """
    times, images, note = [], [], "" if frame_every else "switched off (--no-video)"

    def decided(t: int, milliseconds: float) -> bool:
        nonlocal note
        times.append(milliseconds)
        if not note and t % frame_every == 0:
            try:
                images.append(env.render())
            except EnvError as error:
                note = str(error)
        return t + 1 == most

    obs, _ = env.reset(seed=seed)
    warm_up(agent, params, env, obs, jax.random.key(seed))
    _episodes(agent, params, env, seed, decided)
    return times, images, note


def warm_up(agent: Agent, params: Any, env, obs: Any, key: Any) -> None:
    """Compile before anything is timed."""
    carry, first = agent.init_carry(env.num_envs), jnp.ones(env.num_envs, bool)
    jax.block_until_ready(agent.act(params, carry, agent.observe(env, obs), first, key))


def in_training(
    agents: Mapping[str, Agent], params: Any, net: Networks, config: TrainConfig, repeat: int
) -> dict[str, Any]:
    """Returns of the agents "plan" and "prior" on simulators apart from those that train."""
    results: dict[str, dict[str, EvalResult]] = {name: {} for name in agents}
    for task in eval_tasks(config.env_id, repeat, net.spec.discount):
        env = make_vec(task.env_id, config.eval_episodes, action_repeat=config.action_repeat)
        for name, agent in agents.items():
            results[name][task.name], _ = evaluate(agent, params, env, EVAL_SEED, task.discount)
        env.close()
    planned, prior = (pooled(list(results[name].values())) for name in ("plan", "prior"))
    returns = np.array(planned.episode_returns)
    each = {task: float(np.mean(r.episode_returns)) for task, r in results["plan"].items()}
    return {
        "return_mean": float(returns.mean()),
        "return_std": float(returns.std()),
        "episode_returns": planned.episode_returns,
        "prior_return_mean": float(np.mean(prior.episode_returns)),
        **({"task_return_means": each} if len(each) > 1 else {}),
    }


def evaluate_path(config: EvalConfig) -> dict[str, Any]:
    """`eval`: a trained model in closed loop; the result as a JSON-ready dict.

    Raises ConfigError (no such path, another environment), CheckpointError, EnvError.
    """
    out = output_directory(config.out) if config.out else None
    trained = load(config.path)
    settle(trained.path, trained.config.env_id, config.env_id)
    repeat, discount = trained.spec.action_repeat, trained.net.spec.discount
    chosen = eval_tasks(trained.config.env_id, repeat, discount, config.env_id)
    planner = config.planner.apply(trained.config.planner)
    agent = agent_for(trained.net, planner, config.mode)
    outcomes = {task.name: _on_task(trained, agent, task, config) for task in chosen}
    result = pooled([own for own, _ in outcomes.values()])
    tasks = {task: stats.return_summary(own) for task, (own, _) in outcomes.items()}
    summary = {
        "env_id": config.env_id or trained.config.env_id,
        "mode": config.mode,
        "checkpoint": str(trained.path),
        **stats.return_summary(result),
        **({"tasks": tasks} if len(tasks) > 1 else {}),
        "plan_ms": stats.percentiles(result.plan_ms),
        "seed": config.seed,
        "planner": asdict(planner),
        "eval_wall_s": sum(seconds for _, seconds in outcomes.values()),
        "versions": installed(),
    }
    if out:
        out.write_json("result.json", summary)
        out.write_json("eval.json", result.to_json())
    return summary


def _on_task(
    trained: Trained, agent: Agent, task: EvalTask, config: EvalConfig
) -> tuple[EvalResult, float]:
    """Episodes and latencies on one task; the seconds that the episodes took."""
    repeat = trained.spec.action_repeat
    env = make_vec(task.env_id, config.episodes, action_repeat=repeat)
    check_spec(trained, env.env_spec)
    began = time.perf_counter()
    result, _ = evaluate(agent, trained.params, env, config.seed, task.discount)
    seconds = time.perf_counter() - began
    env.close()
    alone = make_vec(task.env_id, 1, action_repeat=repeat)
    result.plan_ms, _, _ = measure_latency(agent, trained.params, alone, config.seed, 0)
    alone.close()
    return result, seconds


def output_directory(path: str) -> RunDir:
    """A directory to write results into, before anything is computed. Raises StorageError.

    Raises ConfigError for the directory of a training, whose own result is there.
    """
    out = RunDir(path)
    if out.checkpoints.exists():
        raise ConfigError(f"--out {path} is the directory of a training: give another")
    made_directory(out.path)
    return out
