"""`latentmpc check`: what would spoil a training, found by trying the task without a model.

Findings are told with what to do; a finding of level "stop" makes training pointless.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from agents.robots.check_gym import check_gym
from agents.robots.config import CheckConfig
from agents.robots.finding import Finding
from agents.runs.config import ConfigError
from envs.registry import make_spec, make_vec, resolve

SIMULATORS, STARTS, PLANNED_SECONDS = 32, 2, 2.0
DEEP, SATURATED, LARGE, DRIFT = 1e-3, 0.5, 10.0, 0.2
"""Metres of penetration; share of frames at the force limit; size of an observation; a second's
motion at rest: from these on it is said."""

Told = Callable[[str, int, int], None]


def check_task(config: CheckConfig, told: Told) -> dict[str, Any]:
    """Try a task; `told(stage, done, total)` hears the progress. Raises EnvError, ConfigError."""
    if (kind := resolve(config.env_id)[0]) == "gym":
        return check_gym(config, told)
    if kind != "native":
        raise ConfigError(
            f"{config.env_id} is neither a native task nor a Gymnasium environment: check is for "
            "tasks of your own"
        )
    spec = make_spec(config.env_id)
    env = make_vec(config.env_id, SIMULATORS, seed=config.seed)
    findings = _at_start(env)
    findings += _at_rest(env, told)
    found, speed = _at_random(env, config, told)
    gains = _gains(config, told)
    findings += [*found, *_of_rewards(gains)]
    if config.film:
        _film(env, config)
    env.close()
    return {
        "task": config.env_id,
        "obs": dict(spec.obs_names),
        "actions": spec.action_dim,
        "decision_ms": round(1000 * spec.control_dt * spec.action_repeat, 3),
        "episode_decisions": spec.episode_steps,
        **{f"reward_{name}": gain for name, gain in gains.items()},
        "frames_per_second": speed,
        "horizon": max(3, min(10, round(0.3 / (spec.control_dt * spec.action_repeat)))),
        "findings": [finding._asdict() for finding in findings],
    }


def _at_start(env: Any) -> list[Finding]:
    """Contacts that are deep, numbers that are none."""
    obs, _ = env.reset(seed=0)
    findings = []
    if not np.isfinite(obs).all():
        findings.append(
            Finding("stop", "observations at the start are not finite", "see observe()")
        )
    depth = max(_penetration(env, index) for index in range(4))
    if depth > DEEP:
        what = f"bodies overlap by {1000 * depth:.0f} mm at the start"
        findings.append(Finding("note", what, "raise the start, or set collision_free = True"))
    return findings


def _penetration(env: Any, index: int) -> float:
    """The deepest contact of a simulator, metres."""
    contact = env.simulators.batch.get_data(index).contact
    return float(-np.min(contact.dist, initial=0.0))


def _at_rest(env: Any, told: Told) -> list[Finding]:
    """Two seconds without any action: does it stay where it is, does it fall?"""
    decisions, ended = _decisions(env, 2.0), np.zeros(env.num_envs, bool)
    before = np.array(env.simulators.data.qpos)
    for step in range(decisions):
        if step == decisions // 2:
            before = np.array(env.simulators.data.qpos)
        _, _, terminated, _, info = env.step(np.zeros((env.num_envs, env.env_spec.action_dim)))
        ended |= terminated | info["invalid"]
        told("at rest", step + 1, decisions)
    drift = float(np.abs(np.array(env.simulators.data.qpos) - before)[~ended].max(initial=0.0))
    if ended.any():
        what = f"{ended.sum()} of {env.num_envs} episodes end within 2 s without any action"
        return [Finding("note", what, "start in a pose that actions of 0 hold")]
    if drift > DRIFT:
        what = f"without any action it moves by {drift:.2g} (rad or m) in a second"
        return [Finding("note", what, "servos with more stiffness, or more damping")]
    return []


def _at_random(env: Any, config: CheckConfig, told: Told) -> tuple[list[Finding], int]:
    """Random actions: instability, saturation, sizes of observations; and frames a second."""
    rng, model = np.random.default_rng(config.seed), env.simulators.task.model
    decisions, limits = max(1, config.steps // env.num_envs), model.actuator_forcerange[:, 1]
    broken, full, largest = 0, np.zeros(model.nu), np.zeros(env.env_spec.obs_dim)
    env.reset(seed=config.seed)
    began = time.perf_counter()
    for step in range(decisions):
        obs, _, _, _, info = env.step(rng.uniform(-1, 1, (env.num_envs, model.nu)))
        broken += int(info["invalid"].sum())
        force = np.abs(np.array(env.simulators.batch.bind("actuator_force")))
        full += ((limits > 0) & (force >= 0.98 * limits)).mean(axis=0)
        largest = np.maximum(largest, np.abs(obs).max(axis=0))
        told("random actions", step + 1, decisions)
    frames = decisions * env.num_envs * env.env_spec.action_repeat
    findings = [*_broken(broken, model), *_saturated(full / decisions, model)]
    findings += _large(env.env_spec.obs_names, largest)
    return findings, round(frames / (time.perf_counter() - began))


def _broken(count: int, model: Any) -> list[Finding]:
    if not count:
        return []
    timestep = model.opt.timestep
    what = f"MuJoCo gave up on {count} episodes: unstable at a timestep of {timestep:g} s"
    return [
        Finding("stop", what, f"spec.option.timestep = {timestep / 2:g} in edit(), or armature")
    ]


def _saturated(share: np.ndarray, model: Any) -> list[Finding]:
    most = [model.actuator(int(i)).name for i in np.flatnonzero(share > SATURATED)]
    if not most:
        return []
    what = f"actuators at their force limit most of the time: {', '.join(most[:5])}"
    return [Finding("note", what, "less stiffness, or a smaller range of actions")]


def _large(names: Any, largest: np.ndarray) -> list[Finding]:
    findings, begin = [], 0
    for name, size in names:
        top = float(largest[begin : begin + size].max())
        begin += size
        if top > LARGE:
            do = f"scale it in observe(), by {1 / top:.1g}"
            findings.append(Finding("note", f"observation {name!r} reaches {top:.3g}", do))
    return findings


def _of_rewards(gains: dict[str, float]) -> list[Finding]:
    """Can anything be gained at all?"""
    if max(gains.values()) <= 0:
        what = "no reward with zero, random or planned actions"
        return [Finding("stop", what, "widen the margin of the reward, or bring the start nearer")]
    if gains["plan"] <= 1.05 * max(gains["zero"], gains["random"]):
        what = "a short plan on the true simulator gains no more than no plan"
        return [Finding("note", what, "is the reward within reach of a second? widen its margin")]
    return []


def _gains(config: CheckConfig, told: Told) -> dict[str, float]:
    """What zero, random and planned actions gain in an episode, at the rate of its first seconds.

    All from the same starts; the plan is a short one on the true simulator.
    """
    env = make_vec(config.env_id, STARTS, seed=config.seed)
    rng, shape = np.random.default_rng(config.seed), (STARTS, env.env_spec.action_dim)
    ways: dict[str, Callable[..., Any]] = {
        "zero": lambda obs, info, step: np.zeros(shape),
        "random": lambda obs, info, step: rng.uniform(-1, 1, shape),
        "plan": _planner(env, config.seed),
    }
    decisions, gains = _decisions(env, PLANNED_SECONDS), {}
    for name, act in ways.items():
        obs, info = env.reset(seed=config.seed)
        gained = 0.0
        for step in range(decisions):
            obs, reward, _, _, info = env.step(act(obs, info, step))
            gained += float(reward.mean())
            told(f"reward: {name}", step + 1, decisions)
        gains[name] = _per_episode(env, gained, decisions)
    env.close()
    return gains


def _planner(env: Any, seed: int) -> Callable[..., np.ndarray]:
    """(obs, info, step) -> actions of the oracle, whose model is the simulator itself."""
    import jax
    import jax.numpy as jnp

    from agents.acting.oracle import make_oracle
    from planning.config import PlannerConfig

    plan = PlannerConfig(
        horizon=5, num_samples=32, num_prior_samples=0, temperature=0.02, init_std=1.0
    )  # a temperature for rewards of up to 1 a frame, as there is no value beyond the horizon
    agent = make_oracle(env.env_spec, plan)
    carry, key = agent.init_carry(env.num_envs), jax.random.key(seed)

    def act(obs: Any, info: Any, step: int) -> np.ndarray:
        nonlocal carry
        first, now = jnp.asarray(info["is_reset"]), jax.random.fold_in(key, step)
        action, carry, _ = agent.act(None, carry, agent.observe(env, obs), first, now)
        return np.asarray(action)

    return act


def _film(env: Any, config: CheckConfig) -> None:
    """A film of one simulator under random actions, held for a few decisions each."""
    from agents.reports.video import write_mp4

    rng, frames = np.random.default_rng(config.seed), []
    env.reset(seed=config.seed)
    for step in range(_decisions(env, 4.0)):
        if step % 5 == 0:
            actions = rng.uniform(-1, 1, (env.num_envs, env.env_spec.action_dim))
        env.step(actions)
        frames.append(env.render(0, 240, 320))
    seconds = env.env_spec.control_dt * env.env_spec.action_repeat
    write_mp4(Path(config.film), np.stack(frames), 1 / seconds)


def _decisions(env: Any, seconds: float) -> int:
    """Decisions in so many seconds, or in an episode if that is shorter."""
    spec = env.env_spec
    wanted = max(4, round(seconds / (spec.control_dt * spec.action_repeat)))
    return min(wanted, spec.episode_steps or wanted)


def _per_episode(env: Any, reward: float, decisions: int) -> float:
    """A reward of so many decisions as that of an episode without an early end."""
    return float(f"{float(reward) * (env.env_spec.episode_steps or decisions) / decisions:.3g}")
