"""What an environment is, in plain data, and the errors environments raise.

`EnvSpec` travels with checkpoints: it names everything that must be equal for a trained model to
be usable on an environment, and can say in words which of it is not. Imports nothing heavy.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import msgspec

MOST_SIZE, MOST_FRAMES = 1 << 24, 1 << 40


class EnvError(RuntimeError):
    """An environment failed or was misused; `str(e)` is one line for the user."""

    exit_code = 4


class UnknownTaskError(EnvError):
    """No environment has this id; the message has the nearest known one."""

    exit_code = 2


@dataclass(frozen=True)
class EnvSpec:
    """Sizes, times and origin of one environment.

    Attributes:
        env_id: the id it was made from, such as `cartpole-swingup` or `HalfCheetah-v5`.
        obs_dim: size O of the flat observation.
        action_dim: size A of the flat action, each entry in [-1, 1].
        obs_names: (name, size) of the parts of the observation, in order.
        control_dt: seconds of one frame, before action repeat.
        action_repeat: frames per agent decision.
        episode_frames: time limit in frames; 0 means none.
        episodic: whether an episode can terminate, apart from its time limit.
        backend: "native", "dmc", "gym", "ogbench" or "mjx".
        versions: (package, version) pairs of the simulators behind it.
    """

    env_id: str
    obs_dim: int
    action_dim: int
    obs_names: tuple[tuple[str, int], ...]
    control_dt: float
    action_repeat: int
    episode_frames: int
    episodic: bool
    backend: str
    versions: tuple[tuple[str, str], ...] = ()

    @property
    def episode_steps(self) -> int:
        """Time limit in agent decisions (env steps); 0 means none."""
        return math.ceil(self.episode_frames / self.action_repeat)

    def check(self) -> None:
        """Raise ValueError for a size or time that no environment has."""
        sizes = {"obs_dim": self.obs_dim, "action_dim": self.action_dim}
        sizes |= {"action_repeat": self.action_repeat}
        for name, size in sizes.items():
            if not 1 <= size <= MOST_SIZE:
                raise ValueError(f"{name} must lie in [1, {MOST_SIZE}], got {size}")
        if not 0 <= self.episode_frames <= MOST_FRAMES:
            raise ValueError(f"episode_frames must lie in [0, {MOST_FRAMES}]")
        if not 0 < self.control_dt < MOST_FRAMES:
            raise ValueError(f"control_dt must be positive and finite, got {self.control_dt}")
        if any(not 0 <= size <= MOST_SIZE for _, size in self.obs_names):
            raise ValueError(f"sizes in obs_names must lie in [0, {MOST_SIZE}]")

    def to_json(self) -> dict[str, Any]:
        """The spec as a dict that `json.dumps` accepts."""
        data = asdict(self)
        data["obs_names"] = [list(part) for part in self.obs_names]
        data["versions"] = [list(pair) for pair in self.versions]
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "EnvSpec":
        """The spec that `to_json` wrote.

        Raises:
            EnvError: a field is missing, unknown or of the wrong kind.
        """
        if not isinstance(data, Mapping):
            raise EnvError(f"environment spec must be a table, got {str(data)[:80]}")
        known = [field.name for field in fields(cls)]
        missing = [name for name in known if name not in data and name != "versions"]
        unknown = [name for name in data if name not in known]
        if missing or unknown:
            raise EnvError(
                f"environment spec has missing fields {missing} and unknown fields {unknown}; "
                f"expected {known}"
            )
        try:
            spec = msgspec.convert(data, cls)
            spec.check()
            return spec
        except ValueError as error:
            raise EnvError(
                f"environment spec has a field of the wrong kind ({error}); expected what "
                "EnvSpec.to_json writes"
            ) from error

    def difference(self, other: "EnvSpec") -> list[str]:
        """One line for each field in which `other` differs: sizes, names and times.

        The id, the backend and the versions behind it are names of an origin, not compared.
        """
        lines = []
        for field in fields(self):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            if field.name not in ("env_id", "backend", "versions") and mine != theirs:
                lines.append(f"{field.name}: {mine!r} here, {theirs!r} there")
        return lines
