"""The end of a training: evaluation, result.json, video and report."""

import sys
import time
from typing import Any

import numpy as np

from agents import stats, video
from agents.config import TrainConfig, digest
from agents.evaluate import EvalResult, evaluate, k_step_error, measure_latency
from agents.mpc import Agent, floor_agent
from agents.progress import TrainProgress
from agents.rundir import RunDir
from agents.setup import EVAL_SEED
from agents.trainer import Trainer
from agents.versions import installed
from envs.registry import make_vec

VIDEO_EVERY = 2  # every second decision becomes a frame


def finish(
    config: TrainConfig, run: RunDir, trainer: Trainer, clock: dict[str, float], bar: TrainProgress
) -> dict[str, Any]:
    """Evaluate the trained agent, write result.json, eval.json, video and report."""
    began = time.perf_counter()
    bar.message("evaluating")
    net, params = trainer.net, trainer.state.average
    spec, episodes = trainer.spec, config.eval_episodes
    agents = trainer.eval_agents | {"random": floor_agent(spec.action_dim, "random")}
    env = make_vec(config.env_id, episodes, action_repeat=config.action_repeat)
    results: dict[str, EvalResult] = {}
    for name, candidate in agents.items():
        results[name], log = evaluate(candidate, params, env, EVAL_SEED, net.spec.discount)
        if name == "plan":
            results[name].k_step_error = k_step_error(net, params, log)
    env.close()
    results["plan"].plan_ms, note = _episode_alone(config, run, agents["plan"], params)
    timing = {
        "train_wall_s": clock["train_s"],
        "total_wall_s": clock["total_s"] + time.perf_counter() - began,
        "compile_s": clock["compile_s"],
    }
    result = _summary(config, trainer, results) | timing | {"video": note}
    run.write_json("eval.json", results["plan"].to_json())
    run.write_json(run.result.name, result)
    _report(run, bar)
    return result


def _summary(config: TrainConfig, trainer: Trainer, results: dict[str, EvalResult]) -> dict:
    counters, spec = trainer.counters, trainer.spec
    return {
        "env_id": config.env_id,
        **stats.summarise(results["plan"]),
        "prior_return_mean": stats.summarise(results["prior"])["return_mean"],
        "random_return_mean": stats.summarise(results["random"])["return_mean"],
        "env_steps": counters.env_steps,
        "frames": counters.env_steps * spec.action_repeat,
        "updates": counters.updates,
        "invalid_episodes": counters.invalid_episodes,
        "plan_ms": stats.percentiles(results["plan"].plan_ms),
        "params": trainer.num_params,
        "preset": config.preset,
        "seed": config.seed,
        "control_dt": spec.control_dt,
        "action_repeat": spec.action_repeat,
        "config_digest": digest(config),
        "versions": installed(),
        "command": " ".join(["latentmpc", *sys.argv[1:]]),
    }


def _episode_alone(config: TrainConfig, run: RunDir, agent: Agent, params) -> tuple[list, str]:
    """Latency of single decisions, and the video of that episode or why there is none."""
    env = make_vec(config.env_id, 1, action_repeat=config.action_repeat)
    every = VIDEO_EVERY if config.video else 0
    try:
        milliseconds, frames, why = measure_latency(agent, params, env, EVAL_SEED, every)
    finally:
        env.close()
    if not frames:
        return milliseconds, why
    rate = 1 / (env.env_spec.control_dt * env.env_spec.action_repeat * every)
    video.write_mp4(run.video, np.stack(frames), rate)
    return milliseconds, run.video.name


def _report(run: RunDir, bar: TrainProgress) -> None:
    from agents.report import write_report  # matplotlib only when needed

    bar.message(f"report: {write_report(run.path)}")
