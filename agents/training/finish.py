"""The end of a training: evaluation, result.json, video and report."""

import shlex
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from agents.acting.agent import Agent, baseline_agent
from agents.evaluation import stats
from agents.evaluation.evaluate import evaluate, k_step_error, measure_latency
from agents.evaluation.result import EvalResult
from agents.evaluation.tasks import View, by_task, pooled, views
from agents.reports import video
from agents.runs.config import TrainConfig, digest
from agents.runs.directory import RunDir
from agents.runs.networks import EVAL_SEED
from agents.runs.progress import TrainProgress
from agents.runs.versions import installed
from agents.training.trainer import Trainer
from envs.registry import make_spec, make_vec
from envs.spec import EnvSpec
from wm.tdmpc.model import Networks

VIDEO_EVERY = 2  # every second decision becomes a frame


def finish(
    config: TrainConfig,
    run: RunDir,
    trainer: Trainer,
    clock: Callable[[], dict[str, float]],
    bar: TrainProgress,
) -> dict[str, Any]:
    """Evaluate the trained agent, write result.json, eval.json, video and report.

    `clock` reads the run's wall times. The result is on disk before anything that may fail.
    """
    trained = clock()
    bar.message("evaluating")
    net, params = trainer.net, trainer.deployed
    agents = trainer.eval_agents | {"random": baseline_agent(trainer.spec.action_dim, "random")}
    chosen = views(config.env_id, trainer.spec.action_repeat, net.spec.discount)
    each = {view.task: _on_task(config, net, params, agents, view) for view in chosen}
    results = {name: pooled([own[name] for own in each.values()]) for name in agents}
    alone = chosen[0].env_id
    results["plan"].plan_ms, frames, note = _episode_alone(config, alone, agents["plan"], params)
    result = _summary(config, trainer, results) | {"train_wall_s": trained["train_s"]}
    if len(each) > 1:
        result["tasks"] = by_task(each)
    run.write_json("eval.json", results["plan"].to_json())
    _record(run, result, clock, note)
    run.video.unlink(missing_ok=True)  # of an earlier evaluation
    if frames:
        spec = make_spec(chosen[0].task, config.action_repeat) if len(each) > 1 else trainer.spec
        _record(run, result, clock, _write_video(run, spec, frames))
    _report(run, bar)
    return result


def _on_task(
    config: TrainConfig, net: Networks, params: Any, agents: dict[str, Agent], view: View
) -> dict[str, EvalResult]:
    """What each agent comes to on one task."""
    env = make_vec(view.env_id, config.eval_episodes, action_repeat=config.action_repeat)
    results: dict[str, EvalResult] = {}
    for name, candidate in agents.items():
        results[name], log = evaluate(candidate, params, env, EVAL_SEED, view.discount)
        if name == "plan":
            results[name].k_step_error = k_step_error(net, params, log)
    env.close()
    return results


def _record(run: RunDir, result: dict, clock: Callable[[], dict], video_note: str) -> None:
    """Write result.json as of now."""
    now = clock()
    times = {"total_wall_s": now["total_s"], "compile_s": now["compile_s"]}
    result |= times | {"video": video_note}
    run.write_json(run.result.name, result)


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
        "command": shlex.join(["latentmpc", *sys.argv[1:]]),
    }


def _episode_alone(
    config: TrainConfig, env_id: str, agent: Agent, params: Any
) -> tuple[list, list, str]:
    """Latency of single decisions; pictures of that episode, or why there are none."""
    env = make_vec(env_id, 1, action_repeat=config.action_repeat)
    every = VIDEO_EVERY if config.video else 0
    try:
        return measure_latency(agent, params, env, EVAL_SEED, every)
    finally:
        env.close()


def _write_video(run: RunDir, spec: EnvSpec, frames: list) -> str:
    """The video's name, or why it could not be written."""
    rate = 1 / (spec.control_dt * spec.action_repeat * VIDEO_EVERY)
    try:
        return video.write_mp4(run.video, np.stack(frames), rate).name
    except OSError as error:  # PyAV's errors are of this kind too
        run.video.unlink(missing_ok=True)
        return f"could not be written: {' '.join(str(error).split())}"


def _report(run: RunDir, bar: TrainProgress) -> None:
    from agents.training.report import write_report  # matplotlib only when needed

    bar.message(f"report: {write_report(run.path)}")
