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
from agents.evaluation.tasks import EvalTask, by_task, eval_tasks, pooled
from agents.reports import video
from agents.runs.config import digest
from agents.runs.directory import RunDir
from agents.runs.networks import EVAL_SEED
from agents.runs.progress import TrainProgress
from agents.runs.versions import installed
from agents.training.trainer import Trainer
from envs.registry import make_spec, make_vec

VIDEO_EVERY = 2  # every second decision becomes a frame


def finish(
    trainer: Trainer, run: RunDir, bar: TrainProgress, clock: Callable[[], dict[str, float]]
) -> dict[str, Any]:
    """Evaluate the trained agent, write result.json, eval.json, video and report.

    `clock` reads the run's wall times. The result is on disk before anything that may fail.
    """
    trained = clock()
    bar.message("evaluating")
    agents = trainer.eval_agents | {"random": baseline_agent(trainer.spec.action_dim, "random")}
    repeat, discount = trainer.spec.action_repeat, trainer.net.spec.discount
    chosen = eval_tasks(trainer.config.env_id, repeat, discount)
    each = {task.name: _on_task(trainer, agents, task) for task in chosen}
    results = {name: pooled([own[name] for own in each.values()]) for name in agents}
    results["plan"].plan_ms, frames, note = _episode_alone(trainer, chosen[0].env_id)
    result = _summary(trainer, results) | {"train_wall_s": trained["total_s"]}
    if len(each) > 1:
        result["tasks"] = by_task(each)
    run.write_json("eval.json", results["plan"].to_json())
    _record(run, result, clock, note)
    run.video.unlink(missing_ok=True)  # of an earlier evaluation
    if frames:
        _record(run, result, clock, _write_video(trainer, run, chosen[0].name, frames))
    from agents.training.report import write_report  # matplotlib only when needed

    bar.message(f"report: {write_report(run.path)}")
    return result


def _on_task(trainer: Trainer, agents: dict[str, Agent], task: EvalTask) -> dict[str, EvalResult]:
    """Results of each agent on one task."""
    config, params = trainer.config, trainer.deployed
    env = make_vec(task.env_id, config.eval_episodes, action_repeat=config.action_repeat)
    results: dict[str, EvalResult] = {}
    for name, candidate in agents.items():
        results[name], log = evaluate(candidate, params, env, EVAL_SEED, task.discount)
        if name == "plan":
            results[name].k_step_error = k_step_error(trainer.net, params, log)
    env.close()
    return results


def _record(run: RunDir, result: dict, clock: Callable[[], dict], video_note: str) -> None:
    """Write result.json as of now."""
    now = clock()
    times = {"total_wall_s": now["total_s"], "compile_s": now["compile_s"]}
    result |= times | {"video": video_note}
    run.write_json(run.result.name, result)


def _summary(trainer: Trainer, results: dict[str, EvalResult]) -> dict:
    config, counters, spec = trainer.config, trainer.counters, trainer.spec
    return {
        "env_id": config.env_id,
        **stats.return_summary(results["plan"]),
        "prior_return_mean": stats.return_summary(results["prior"])["return_mean"],
        "random_return_mean": stats.return_summary(results["random"])["return_mean"],
        "env_steps": counters.env_steps,
        "frames": counters.env_steps * spec.action_repeat,
        "updates": counters.updates,
        "invalid_episodes": counters.invalid_episodes,
        "resume": "episode" if trainer.driver.env.unsaved else "exact",
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


def _episode_alone(trainer: Trainer, env_id: str) -> tuple[list, list, str]:
    """Latency of single decisions; pictures of that episode, or why there are none."""
    env = make_vec(env_id, 1, action_repeat=trainer.config.action_repeat)
    every = VIDEO_EVERY if trainer.config.video else 0
    try:
        planner = trainer.eval_agents["plan"]
        return measure_latency(planner, trainer.deployed, env, EVAL_SEED, every)
    finally:
        env.close()


def _write_video(trainer: Trainer, run: RunDir, task: str, frames: list) -> str:
    """The video's name, or why it could not be written."""
    spec = make_spec(task, trainer.config.action_repeat)
    rate = 1 / (spec.control_dt * spec.action_repeat * VIDEO_EVERY)
    try:
        return video.write_mp4(run.video, np.stack(frames), rate).name
    except OSError as error:  # PyAV's errors are of this kind too
        run.video.unlink(missing_ok=True)
        return f"could not be written: {' '.join(str(error).split())}"
