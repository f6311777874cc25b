"""Episodes of one shard, simulated side by side, with everything that is to be stored of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from agents.data.config import CollectConfig
from agents.data.dataset import Quantity
from agents.data.policies import make_policy
from agents.runs.config import ConfigError
from envs.native.simulators import Simulators
from envs.registry import make_vec
from envs.spec import EnvError, EnvSpec

Rows = dict[str, np.ndarray]


def episode_steps(config: CollectConfig, spec: EnvSpec) -> int:
    """Most decisions of an episode. Raises ConfigError where neither says."""
    if not (config.steps or spec.episode_steps):
        raise ConfigError(f"{config.env_id} has no time limit: give --steps N")
    return min(filter(None, (config.steps, spec.episode_steps)))


def episode_seed(seed: int, episode: int) -> int:
    """Seed of an episode's first state, whatever shard it is in."""
    return int(np.random.SeedSequence([seed, episode, 0]).generate_state(1)[0])


def simulators_of(env: Any) -> Simulators | None:
    """Our own simulators behind an environment, whose physics can be put back; None: others'."""
    found = getattr(env, "simulators", None)
    return found if isinstance(found, Simulators) else None


def simulate(config: CollectConfig, episodes: Sequence[int]) -> list[Rows]:
    """Rows [L + 1, ...] by field of each episode, `invalid` and `ended` ([] bool) beside them.

    Without pictures, but for simulators whose state cannot be put back later. Raises EnvError,
    ConfigError.
    """
    env = make_vec(config.env_id, len(episodes), action_repeat=config.action_repeat, endless=True)
    steps = episode_steps(config, env.env_spec)
    act = make_policy(config, env.env_spec, episodes, steps)
    obs, info = env.reset(seed=[episode_seed(config.seed, e) for e in episodes])
    reader = StateReader(env)
    size = config.size if config.pixels and not reader.native else 0
    moments, decisions = [_moment(env, reader, size, obs, info)], []
    running = np.ones(len(episodes), bool)
    for t in range(steps):
        action = np.asarray(act(t, env, obs), np.float32)
        obs, reward, terminated, truncated, info = env.step(action)
        taken = {"action": action, "reward": reward.astype(np.float32), "terminated": terminated}
        decisions.append({**taken, "invalid": info["invalid"].copy(), "running": running})
        moments.append(_moment(env, reader, size, obs, info))
        running = running & ~(terminated | truncated)
        if not running.any():
            break
    env.close()
    return by_episode(moments, decisions)


def _moment(env: Any, reader: "StateReader", size: int, obs: np.ndarray, info: dict) -> Rows:
    """The rows [E, ...] before a decision; `size` of pictures, 0 for none."""
    rows = {"obs": np.asarray(obs, np.float32), "state": reader.read(obs, info)}
    if not np.isfinite(rows["obs"]).all():
        raise EnvError(f"{env.env_spec.env_id} gave an observation that is not finite")
    if reader.native:
        rows["physics"] = env.simulators.get_moments()
    if size:
        rows["pixels"] = np.stack([env.render(i, size, size) for i in range(env.num_envs)])
    return rows


def by_episode(moments: list[Rows], decisions: list[Rows]) -> list[Rows]:
    """Rows of T + 1 moments and T decisions by episode.

    A decision in which the physics broke down is cut off.
    """
    seen, taken = _stacked(moments), _stacked(decisions)
    lengths = (taken["running"] & ~taken["invalid"]).sum(0)
    broken = taken["running"] & taken["invalid"]
    found = []
    for i, length in enumerate(lengths):
        rows = {name: values[: length + 1, i] for name, values in seen.items()}
        for name in ("action", "reward", "terminated"):
            values = taken[name][:length, i]
            rows[name] = np.concatenate([values, np.zeros_like(taken[name][:1, i])])
        found.append({**rows, "invalid": np.asarray(broken[:, i].any())})
    return found


def _stacked(rows: list[Rows]) -> Rows:
    """[T, E, ...] by field."""
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


class StateReader:
    """The physical quantities of an environment: joints, contact, and what its task adds.

    A task adds quantities by `quantity_names`, a tuple of (name, kind), and
    `quantities(xp, data) -> [..., n]`. Environments without our simulators give their observation.
    """

    def __init__(self, env: Any):
        self._simulators: Any = simulators_of(env)
        self.native = self._simulators is not None
        if not self.native:
            self.quantities = obs_quantities(env.env_spec)
            return
        task = self._simulators.task
        self._ncon = self._simulators.batch.bind("ncon")
        self.quantities = (*joint_quantities(task.model), Quantity("contact:any", "contact"))
        self._task = task if getattr(task, "quantity_names", ()) else None
        if self._task is not None:
            self.quantities += tuple(Quantity(*pair) for pair in task.quantity_names)

    def read(self, obs: np.ndarray, info: dict[str, Any]) -> np.ndarray:
        """Quantities [E, S] float32 now."""
        if not self.native:
            return np.asarray(obs, np.float32)
        data = self._simulators.data
        parts = [data.qpos, data.qvel, np.asarray(self._ncon).reshape(-1, 1) > 0]
        if self._task is not None:
            parts.append(self._task.quantities(np, data))
        if "achieved" in info:
            parts.append(info["achieved"])
        return np.concatenate([np.asarray(p, np.float32) for p in parts], axis=1)


def describe_state(env: Any) -> tuple[Quantity, ...]:
    """Name and kind of every dimension of `state` for an environment that has been reset."""
    reader = StateReader(env)
    _, info = env.reset(seed=[0] * env.num_envs)
    if not (reader.native and "achieved" in info):
        return reader.quantities
    names = env.simulators.task.achieved_names
    return (*reader.quantities, *(Quantity(f"achieved:{name}", "achieved") for name in names))


def obs_quantities(spec: EnvSpec) -> tuple[Quantity, ...]:
    """The parts of an observation as quantities."""
    return tuple(
        Quantity(f"obs:{name}[{i}]", "obs") for name, size in spec.obs_names for i in range(size)
    )


_QUATERNION = [(f"quat{i}", "quaternion") for i in "wxyz"]
_QPOS = {
    0: [(i, "position") for i in "xyz"] + _QUATERNION,
    1: _QUATERNION,
    2: [("", "position")],
    3: [("", "angle")],
}
_QVEL = {0: ("vx", "vy", "vz", "wx", "wy", "wz"), 1: ("wx", "wy", "wz"), 2: ("",), 3: ("",)}
"""By joint type: free, ball, slide, hinge."""


def joint_quantities(model: Any) -> tuple[Quantity, ...]:
    """qpos and qvel of a model, named by joint."""
    positions, speeds = [], []
    for j in range(model.njnt):
        name, kind = model.joint(j).name or f"joint{j}", int(model.jnt_type[j])
        positions += [Quantity(_named(f"qpos:{name}", part), what) for part, what in _QPOS[kind]]
        speeds += [Quantity(_named(f"qvel:{name}", part), "velocity") for part in _QVEL[kind]]
    return (*positions, *speeds)


def _named(joint: str, part: str) -> str:
    return f"{joint}.{part}" if part else joint
