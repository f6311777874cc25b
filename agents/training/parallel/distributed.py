"""The simulators of a training, each stepped by one of its processes and seen by all.

Process i of P has the i-th of P parts of each task's simulators. It steps those with its part of
the actions; then all exchange what came of it. Seeds, states and checkpoints are those of one
process with all simulators, so a run may go on with any number of processes.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from agents.runs.config import ConfigError, TrainConfig
from agents.training import setup
from agents.training.parallel.processes import Arrays, Processes
from agents.training.randomize import draw, ranges_of
from envs.registry import make_vec
from envs.spec import EnvError
from envs.task_list import task_names
from envs.wrappers.disturb import DisturbedVectorEnv
from envs.wrappers.multi import MultiTaskVectorEnv

Simulate = Callable[[Sequence[int]], Any]


def make_distributed(config: TrainConfig, group: Processes) -> Any:
    """The vector environment that trains; in several processes it is shared by them.

    Raises what `setup.make_simulators` raises, and ConfigError when there are no equal shares.
    """
    if group.count == 1:
        return setup.make_simulators(config)
    ranges, tasks = ranges_of(config.randomize, config.env_id), task_names(config.env_id)
    shifts = draw(ranges, config.num_envs, config.seed)
    disturbed = any(shift.disturbing for shift in shifts)
    if disturbed and tasks:
        raise ConfigError(
            "noise and delays in --randomize are not shared by the --processes of several --tasks: "
            "leave one of the three out"
        )

    def make(rows: Sequence[int]) -> Any:
        physics = [shifts[row].without_disturbance() for row in rows]
        return make_vec(config.env_id, len(rows), action_repeat=config.action_repeat, shift=physics)

    env = DistributedSimulators(make, config.num_envs, max(1, len(tasks)), group)
    return DisturbedVectorEnv(env, shifts) if disturbed else env


class DistributedSimulators:
    """The vector environment of all `num_envs` simulators, of which this process has a share.

    `step`, `get_state` and `reset` are called by all processes alike, with the same arguments.
    """

    def __init__(self, make: Simulate, num_envs: int, tasks: int, group: Processes) -> None:
        """`make(rows)` builds the simulators of some rows of the whole.

        Raises ConfigError unless each process gets as many simulators of each task.
        """
        each, rest = divmod(num_envs, tasks * group.count)
        if rest:
            raise ConfigError(
                f"--processes {group.count} cannot share --num-envs {num_envs} evenly: give a "
                f"multiple of {tasks * group.count}"
            )
        self.num_envs, self.group, self._make = num_envs, group, make
        self._rows = np.arange(num_envs).reshape(tasks, group.count, each).swapaxes(0, 1)
        self._rows = self._rows.reshape(group.count, -1)
        self.own = make(self._rows[group.index].tolist())
        self.env_spec = self.own.env_spec
        self.single_action_space = self.own.single_action_space
        self.notes, self.faults = self.own.notes, self.own.faults

    @property
    def unsaved(self) -> str:
        """As of the own simulators, which are of the same tasks."""
        return self.own.unsaved

    @property
    def restarts(self) -> np.ndarray:
        """[E] bool: the simulators that begin new episodes when a run resumes."""
        return self._joined([self.own.restarts] * self.group.count)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, Arrays]:
        """Start an episode everywhere, as all simulators in one process would with this seed.

        Raises EnvError for `options` that ask for less.
        """
        if options is not None:
            raise EnvError("simulators that are shared by processes are reset all together")
        whole = self._make(range(self.num_envs))
        obs, info = whole.reset(seed=seed)
        self.set_state(whole.get_state())
        whole.close()
        return obs, info

    def step(self, actions: Any) -> tuple[Any, ...]:
        """One decision of all simulators with actions [E, A], as the contract of `envs.vector`.

        In every process: obs [E, O], reward, terminated, truncated [E], info. Raises EnvError for
        the own simulators, PeerError for those of another process.
        """
        mine = np.asarray(actions)[self._rows[self.group.index]]
        parts = self.group.gather("step", lambda: _packed(*self.own.step(mine)))
        whole = {name: self._joined([part[name] for part in parts]) for name in parts[0]}
        first = [whole.pop(name) for name in OUTCOME]
        return *first, whole

    def get_state(self) -> Arrays:
        """The state of all simulators, as one process with all of them would give it."""
        return join_states(self.own, self.group.gather("state", self.own.get_state))

    def set_state(self, state: Arrays) -> None:
        """Go on from the state of all simulators."""
        self.own.set_state(own_state(self.own, state, self.group.index))

    def close(self) -> None:
        """Close the own simulators."""
        self.own.close()

    def check_actions(self, actions: Any) -> np.ndarray:
        """Actions [E, A] float64, clipped to [-1, 1]; each process checks its own."""
        return np.clip(np.asarray(actions, np.float64), -1, 1)

    def _joined(self, parts: list[np.ndarray]) -> np.ndarray:
        """Rows of all simulators from those of each process."""
        whole = np.empty((self.num_envs, *parts[0].shape[1:]), parts[0].dtype)
        whole[self._rows.ravel()] = np.concatenate(parts)
        return whole


OUTCOME = ("obs", "reward", "terminated", "truncated")


def _packed(*outcome: Any) -> Arrays:
    """The outcome of a step as arrays by name: OUTCOME, and those of its info."""
    return dict(zip(OUTCOME, outcome[:-1], strict=True)) | outcome[-1]


def own_state(env: Any, state: Arrays, part: int) -> Arrays:
    """Of the state of all simulators that of part number `part`, which `env` simulates."""
    own: Arrays = {}
    for name, value in state.items():
        tasks, inner, simulator, array = _located(env, name)
        first, count = part * inner.num_envs, inner.num_envs
        if simulator is None:
            own[name] = value[first : first + count]
        elif first <= simulator < first + count:
            own[f"{tasks}{simulator - first}/{array}"] = value
    return own


def join_states(env: Any, states: Sequence[Arrays]) -> Arrays:
    """The state of all simulators from those of the parts, one of which `env` simulates."""
    parts: dict[str, list[np.ndarray]] = {}
    for part, state in enumerate(states):
        for name, value in state.items():
            tasks, inner, simulator, array = _located(env, name)
            if simulator is not None:
                name = f"{tasks}{part * inner.num_envs + simulator}/{array}"
            parts.setdefault(name, []).append(value)
    return {name: np.concatenate(p) if len(p) > 1 else p[0] for name, p in parts.items()}


def _located(env: Any, name: str) -> tuple[str, Any, int | None, str]:
    """Whose an array is: ("TASK/", its environment, its simulator, the array's name).

    Names `i/NAME` are of simulator i alone (in adapters), of several tasks those of task i; other
    arrays have a row for each simulator.
    """
    number, slash, rest = name.partition("/")
    if not (slash and number.isdigit()):
        return "", env, None, name
    if isinstance(env, MultiTaskVectorEnv) and int(number) < len(env.envs):
        tasks, inner, simulator, array = _located(env.envs[int(number)], rest)
        return f"{number}/{tasks}", inner, simulator, array
    return "", env, int(number), rest
