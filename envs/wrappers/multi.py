"""Simulators of several tasks behind one contract, for one model of all of them.

An observation is flat: the task's own, padded with zeros [O], which task it is as a one-hot [N],
which actions count [A], and 1 / episode_steps, 0 without a time limit [1]. Actions are padded
too: a task ignores those beyond its own.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from envs.native.shift import Shift
from envs.spec import EnvSpec
from envs.task_list import TaskListError, shown_tasks, task_names
from envs.vector import Arrays, Begun, Options, Seed, SimulatorVectorEnv, Stepped, part_of

BACKEND, TASK_PART = "multi", "task"
MakeSpec = Callable[[str, int], EnvSpec]


def num_tasks(spec: EnvSpec) -> int:
    """Tasks behind a spec of this module; 0 for a single task's."""
    return dict(spec.obs_names)[TASK_PART] if spec.backend == BACKEND else 0


def multi_spec(env_id: str, action_repeat: int, make_spec: MakeSpec) -> EnvSpec:
    """The spec of several tasks; frames and time limits are those of the longest.

    Raises UnknownTaskError, or TaskListError for tasks that repeat actions differently.
    """
    shown_tasks(env_id)  # raises
    return _joined_spec(env_id, _task_specs(env_id, action_repeat, make_spec))


def _task_specs(env_id: str, action_repeat: int, make_spec: MakeSpec) -> list[EnvSpec]:
    specs = [make_spec(name, action_repeat) for name in task_names(env_id)]
    if len({spec.action_repeat for spec in specs}) > 1:
        found = ", ".join(f"{s.action_repeat} on {s.env_id}" for s in specs)
        raise TaskListError(
            f"the tasks' own action repeats differ ({found}): give one for all, as in "
            f"--action-repeat {max(spec.action_repeat for spec in specs)}"
        )
    return specs


def _joined_spec(env_id: str, specs: list[EnvSpec]) -> EnvSpec:
    obs, action = max(s.obs_dim for s in specs), max(s.action_dim for s in specs)
    parts = (("obs", obs), (TASK_PART, len(specs)), ("action_mask", action), ("rate", 1))
    return EnvSpec(
        env_id=env_id,
        obs_dim=sum(size for _, size in parts),
        action_dim=action,
        obs_names=parts,
        control_dt=max(s.control_dt for s in specs),
        action_repeat=specs[0].action_repeat,
        episode_frames=max(s.episode_frames for s in specs),
        episodic=any(s.episodic for s in specs),
        backend=BACKEND,
        versions=tuple(sorted({pair for s in specs for pair in s.versions})),
    )


def make_multi(
    env_id: str,
    num_envs: int,
    action_repeat: int,
    shifts: Sequence[Shift],
    make_spec: MakeSpec,
    make_vec: Callable[..., Any],
) -> "MultiTaskVectorEnv":
    """As many simulators of each task; the first `num_envs / tasks` are the first task's.

    `make_spec(name, action_repeat)` and `make_vec(name, num_envs, shift=...)` make those of one
    task. Raises TaskListError when they cannot be shared evenly, and what the tasks raise.
    """
    names, shown = task_names(env_id), shown_tasks(env_id)
    specs = _task_specs(env_id, action_repeat, make_spec)
    each, rest = divmod(num_envs, len(shown))
    if rest or not each:
        fitting = (each + 1) * len(shown)
        raise TaskListError(
            f"{num_envs} simulators cannot be shared evenly by {len(shown)} tasks: give "
            f"--num-envs {fitting}"
        )
    shares = [shifts[k * each : (k + 1) * each] for k in range(len(shown))]
    envs = [make_vec(name, each, shift=own) for name, own in zip(shown, shares, strict=True)]
    tails = [_tail(specs, names.index(name)) for name in shown]
    return MultiTaskVectorEnv(_joined_spec(env_id, specs), envs, tails)


def _tail(specs: list[EnvSpec], index: int) -> np.ndarray:
    """What follows the padded observation [N + A + 1]: one-hot, action mask, rate."""
    spec, actions = specs[index], max(s.action_dim for s in specs)
    one_hot = np.arange(len(specs)) == index
    mask = np.arange(actions) < spec.action_dim
    rate = 1 / spec.episode_steps if spec.episode_steps else 0.0
    return np.concatenate([one_hot, mask, [rate]])


class MultiTaskVectorEnv(SimulatorVectorEnv):
    """Vector environments of several tasks as one; `tails[k]` marks the observations of `envs[k]`.

    Seeds, episodes and states are the tasks' own: with an integer seed, simulator i of a task
    starts as simulator i of that task alone.
    """

    def __init__(self, spec: EnvSpec, envs: Sequence[Any], tails: Sequence[np.ndarray]) -> None:
        super().__init__(spec, sum(env.num_envs for env in envs))
        self.envs, self._tails = list(envs), list(tails)
        ends = np.cumsum([env.num_envs for env in envs]).tolist()
        self._rows = [slice(end - env.num_envs, end) for env, end in zip(envs, ends, strict=True)]
        self._parts = list(zip(self.envs, self._rows, strict=True))
        self.notes = tuple(dict.fromkeys(note for env in envs for note in env.notes))

    @property
    def unsaved(self) -> str:
        """Why states of some of the tasks cannot be saved."""
        return "; ".join(env.unsaved for env in self.envs if env.unsaved)

    @property
    def restarts(self) -> np.ndarray:
        """[E] bool: the simulators that begin new episodes when a run resumes."""
        return np.concatenate([env.restarts for env in self.envs])

    def reset(self, *, seed: Seed = None, options: Options = None) -> Begun:
        """Start new episodes; without a seed the random streams go on."""
        chosen, outcomes = self._chosen(options), []
        for env, rows in self._parts:
            own = seed[rows] if isinstance(seed, Sequence) else seed
            outcomes.append(env.reset(seed=own, options={"reset_mask": chosen[rows]}))
        return self._padded([obs for obs, _ in outcomes]), self._joined([i for _, i in outcomes])

    def step(self, actions: Any) -> Stepped:
        """One decision with actions [E, A]; each task ignores those beyond its own."""
        self._last_obs("step")
        actions = self.check_actions(actions)
        outcomes = [env.step(actions[rows, : env.env_spec.action_dim]) for env, rows in self._parts]
        obs, reward, terminated, truncated, info = zip(*outcomes, strict=True)
        ended = np.concatenate(terminated), np.concatenate(truncated)
        self.faults = sum((env.faults for env in self.envs), Counter())
        return self._padded(obs), np.concatenate(reward), *ended, self._joined(info)

    def get_state(self) -> Arrays:
        """The states of all simulators, those of `envs[k]` under `k/NAME`."""
        states = [env.get_state() for env in self.envs]
        return {f"{k}/{name}": x for k, own in enumerate(states) for name, x in own.items()}

    def set_state(self, state: Arrays) -> None:
        """Go back to what `get_state` gave. Raises EnvError naming an array that does not fit."""
        if self._obs is None:
            self.reset()
        for k, env in enumerate(self.envs):
            env.set_state(part_of(state, f"{k}/"))

    def _picture(self, index: int, height: int, width: int) -> np.ndarray:
        env, rows = next(pair for pair in self._parts if index < pair[1].stop)
        return env.render(index - rows.start, height, width)

    def close_extras(self, **kwargs: Any) -> None:
        """Close the environments of all tasks."""
        for env in self.envs:
            env.close()

    def _padded(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Observations [E, O + N + A + 1] of the tasks' own, in order."""
        full = np.zeros((self.num_envs, self.env_spec.obs_dim))
        for part, rows, tail in zip(parts, self._rows, self._tails, strict=True):
            full[rows, : part.shape[1]] = part
            full[rows, -len(tail) :] = tail
        self._obs = full
        return full.copy()

    def _joined(self, parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
        names = ("invalid", "is_reset")
        return self._info(*[np.concatenate([part[name] for part in parts]) for name in names])
