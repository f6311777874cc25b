"""`latentmpc check` of a Gymnasium environment: stepped as training would, and what is found.

Its own checker is Gymnasium's; ours are of what a training needs beside it.
"""

import contextlib
import io
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.utils.env_checker import check_env

from agents.robots.config import CheckConfig
from agents.robots.finding import Finding
from envs.registry import make_spec, make_vec
from envs.spec import EnvError

SIMULATORS, REPEATED, LARGE, SLOW = 2, 50, 10.0, 200
"""Steps that equal seeds must repeat; size of an observation, steps a second: then it is said."""

HARMLESS = ("A Box observation space m", "A Box action space m", "For Box action spaces, we")
"""What Gymnasium's checker says of bounds, which are dealt with here."""

Told = Callable[[str, int, int], None]


def check_gym(config: CheckConfig, told: Told) -> dict[str, Any]:
    """Try an environment; `told(stage, done, total)` hears the progress. Raises EnvError."""
    spec = make_spec(config.env_id)
    env = make_vec(config.env_id, SIMULATORS, endless=True)
    findings = [Finding("note", *_split(note)) for note in env.notes]
    findings += _of_limit(spec)
    findings += _of_seeds(env)
    found, figures = _at_random(env, config, told)
    findings += found
    if env.unsaved:
        do = "keep it in attributes of numbers, lists, tables; else a resumed run begins anew"
        findings.append(Finding("note", f"its state cannot be saved ({env.unsaved})", do))
    findings += _of_rendering(env)
    findings += _of_gymnasium(env)
    resume = "episode" if env.unsaved else "exact"
    env.close()
    return {
        "task": config.env_id,
        "obs": dict(spec.obs_names),
        "actions": spec.action_dim,
        "decision_ms": round(1000 * spec.control_dt * spec.action_repeat, 3),
        "episode_decisions": spec.episode_steps,
        **figures,
        "resume": resume,
        "findings": [finding._asdict() for finding in findings],
    }


def _split(note: str) -> tuple[str, str]:
    """What was assumed, and the flag that changes it."""
    what, _, do = note.rpartition(" (")
    return what, do.rstrip(")")


def _of_limit(spec: Any) -> list[Finding]:
    if spec.episode_frames:
        return []
    return [Finding("stop", "it has no time limit: an episode may never end", "--episode-steps N")]


def _of_seeds(env: Any) -> list[Finding]:
    """Equal seeds must give equal episodes, and different ones others."""
    rng, shape = np.random.default_rng(0), (REPEATED, SIMULATORS, env.env_spec.action_dim)
    actions, episodes = rng.uniform(-1, 1, shape), []
    for seed in (7, 7, 8):
        first, _ = env.reset(seed=seed)
        steps = [np.column_stack(env.step(action)[:2]) for action in actions]
        episodes.append((first, np.stack(steps)))
    (one, after), (again, after_again), (other, _) = episodes
    if not np.array_equal(one, again):
        do = "call super().reset(seed=seed) and draw from self.np_random alone"
        return [Finding("note", "equal seeds give different first observations", do)]
    if not np.array_equal(after, after_again):
        do = "draw from self.np_random alone, and reset all that steps change"
        return [Finding("note", "equal seeds and actions give different episodes", do)]
    if np.array_equal(one, other):
        do = "draw it in reset(), unless it is meant to be the same"
        return [Finding("note", "every episode begins in the same state", do)]
    return []


def _at_random(env: Any, config: CheckConfig, told: Told) -> tuple[list[Finding], dict[str, Any]]:
    """Random actions: invalid episodes, ends, sizes of observations and rewards; and the speed."""
    rng, spec = np.random.default_rng(config.seed), env.env_spec
    decisions = max(1, config.steps // SIMULATORS)
    largest, rewards, ends = np.zeros(spec.obs_dim), [], np.zeros(3, int)
    env.reset(seed=config.seed)
    began = time.perf_counter()
    for step in range(decisions):
        actions = rng.uniform(-1, 1, (SIMULATORS, spec.action_dim))
        obs, reward, terminated, truncated, info = env.step(actions)
        invalid = info["invalid"]
        largest = np.maximum(largest, np.abs(obs).max(axis=0))
        rewards.append(reward[~info["is_reset"] & ~invalid])
        ends += [terminated.sum(), (truncated & ~invalid).sum(), invalid.sum()]
        told("random actions", step + 1, decisions)
    speed = round(decisions * SIMULATORS / (time.perf_counter() - began))
    rewards = np.concatenate(rewards)
    findings = [*_of_faults(env, ends), *_of_observations(spec, largest), *_of_rewards(rewards)]
    if speed < SLOW:
        minutes = 50_000 // max(speed, 1) // 60
        what = f"{speed} steps a second: 50,000 of a training take {minutes} min"
        findings.append(Finding("note", what, "a longer --action-repeat, or a faster environment"))
    figures = {
        "steps_per_second": speed,
        "reward": {"least": rewards.min(initial=np.inf), "most": rewards.max(initial=-np.inf)},
        "ends": dict(zip(("terminated", "truncated", "invalid"), ends.tolist(), strict=True)),
    }
    return findings, figures


def _of_faults(env: Any, ends: np.ndarray) -> list[Finding]:
    """Of `ends`, the episodes terminated, truncated and invalid: with some valid, one can learn."""
    level = "stop" if ends[2] == ends.sum() else "note"
    return [
        Finding(level, f"{why} ({times} episodes ended as invalid)", "see step() and observations")
        for why, times in env.faults.most_common(3)
    ]


def _of_observations(spec: Any, largest: np.ndarray) -> list[Finding]:
    findings, begin = [], 0
    for name, size in spec.obs_names:
        top = float(largest[begin : begin + size].max())
        begin += size
        if top > LARGE:
            do = f"scale it by {1 / top:.1g}"
            findings.append(Finding("note", f"observation {name!r} reaches {top:.3g}", do))
    return findings


def _of_rewards(rewards: np.ndarray) -> list[Finding]:
    if not len(rewards):
        return []
    if np.ptp(rewards) == 0:
        what = f"the reward is {rewards[0]:g} at every step with random actions"
        return [Finding("note", what, "a reward that grows on the way is learned far sooner")]
    if np.abs(rewards).max() > 1000:
        what = f"rewards reach {np.abs(rewards).max():.3g}"
        return [Finding("note", what, "scale them to about 1 a step")]
    return []


def _of_rendering(env: Any) -> list[Finding]:
    try:
        env.render(0, 64, 64)
    except EnvError as error:
        do = "render() with render_mode='rgb_array'; only films need it"
        return [Finding("note", str(error), do)]
    return []


def _of_gymnasium(env: Any) -> list[Finding]:
    """What Gymnasium's own checker says of the environment without its wrappers."""
    core: Any = env.simulators[0].env.unwrapped
    said: list[tuple[str, str]] = []
    with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("always")
        try:
            check_env(core, skip_render_check=True)
        except (Exception, SystemExit) as error:  # assertions, and what the environment raises
            said.append((str(error) or type(error).__name__, "make it as Gymnasium's Env asks"))
    others = "training works without it, tools of others may not"
    said += [(str(w.message), others) for w in caught if "WARN:" in str(w.message)]
    plain = [(line.replace("\33[33m", "").replace("\33[0m", ""), do) for line, do in said]
    lines = {" ".join(line.split()).removeprefix("WARN: ")[:300]: do for line, do in plain}
    return [
        Finding("note", f"gymnasium's check_env: {line}", do)
        for line, do in lines.items()
        if not line.startswith(HARMLESS)
    ]
