"""What an environment is, in plain data, and the errors environments raise.

`EnvSpec` travels with checkpoints: it names everything that must be equal for a trained model to
be usable on an environment, and can say in words which of it is not. Imports nothing heavy.
"""

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any

import msgspec
from msgspec import Meta

MOST_SIZE, MOST_FRAMES = 1 << 24, 1 << 40
Size = Annotated[int, Meta(ge=1, le=MOST_SIZE)]


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that is most like `name`."""
    return difflib.get_close_matches(name, [*known], n=1, cutoff=0.0)[0]


class EnvError(RuntimeError):
    """An environment failed or was misused; `str(e)` is one line for the user."""

    exit_code = 4


class UnknownTaskError(EnvError):
    """No environment has this id; the message has the nearest known one."""

    exit_code = 2


class UnfitEnvError(EnvError):
    """The environment exists, but cannot be learned as it is."""

    exit_code = 2


class UnsavableError(EnvError):
    """The state of an environment is more than can be kept, or not what a fresh one can take."""


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
    obs_dim: Size
    action_dim: Size
    obs_names: tuple[tuple[str, Annotated[int, Meta(ge=0, le=MOST_SIZE)]], ...]
    control_dt: Annotated[float, Meta(gt=0, lt=MOST_FRAMES)]
    action_repeat: Size
    episode_frames: Annotated[int, Meta(ge=0, le=MOST_FRAMES)]
    episodic: bool
    backend: str
    versions: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if self.action_repeat < 1:
            raise EnvError(f"action_repeat must be at least 1, got {self.action_repeat}")

    @property
    def episode_steps(self) -> int:
        """Time limit in agent decisions (env steps); 0 means none."""
        return math.ceil(self.episode_frames / self.action_repeat)

    def require_limit(self) -> None:
        """Raise UnfitEnvError where nothing ends an episode that does not end by itself."""
        if not self.episode_frames:
            mark = "&" if "#" in self.env_id else "#"
            raise UnfitEnvError(
                f"{self.env_id} has no time limit, so that an episode may never end: give one with "
                f"--episode-steps N, or as part of its id: '{self.env_id}{mark}episode_steps=N'"
            )

    def to_json(self) -> dict[str, Any]:
        """The spec as a dict that `json.dumps` accepts."""
        data = asdict(self)
        for name in ("obs_names", "versions"):
            data[name] = [list(pair) for pair in data[name]]
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "EnvSpec":
        """The spec that `to_json` wrote.

        Raises:
            EnvError: a field is missing, unknown or of the wrong kind.
        """
        if not isinstance(data, Mapping):
            raise EnvError(f"environment spec must be a table, got {str(data)[:80]}")
        known = [part.name for part in fields(cls)]
        missing = [name for name in known if name not in data and name != "versions"]
        unknown = [name for name in data if name not in known]
        if missing or unknown:
            raise EnvError(
                f"environment spec has missing fields {missing} and unknown fields {unknown}; "
                f"expected {known}"
            )
        try:
            return msgspec.convert(data, cls)
        except ValueError as error:
            raise EnvError(
                f"environment spec has a field of the wrong kind ({error}); expected what "
                "EnvSpec.to_json writes"
            ) from error

    def difference(self, other: "EnvSpec") -> list[str]:
        """One line for each field in which `other` differs: sizes, names and times.

        The id, the backend and the versions behind it are names of an origin, not compared.
        """
        names = [part.name for part in fields(self)]
        pairs = {n: (getattr(self, n), getattr(other, n)) for n in names}
        return [
            f"{name}: {mine!r} here, {theirs!r} there"
            for name, (mine, theirs) in pairs.items()
            if name not in ("env_id", "backend", "versions") and mine != theirs
        ]


@dataclass(frozen=True)
class Joint:
    """A joint; `low` and `high` in its unit, None where it has no limit."""

    name: str
    unit: str
    """rad, m, or "" for a joint of several freedoms."""
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Actuator:
    """An actuator; an action of -1 and 1 asks for `low` and `high`, in its unit."""

    name: str
    unit: str
    """rad, rad/s, N m, m, m/s, N; "" where its kind is another."""
    low: float
    high: float


@dataclass(frozen=True)
class Robot:
    """What a controller drives, in the order of its actions."""

    actuators: tuple[Actuator, ...]
    joints: tuple[Joint, ...] = ()

    def stated(self) -> dict[str, list[str]]:
        """What a robot says of itself: the form of `difference`."""
        return {
            "actuators": [one.name for one in self.actuators],
            "units": [one.unit for one in self.actuators],
            "joints": [one.name for one in self.joints],
        }

    def difference(self, stated: Mapping[str, Any]) -> str:
        """How what a robot states of `stated()` is not this one; "" where it fits."""
        for name, mine in self.stated().items():
            theirs = [*stated[name]] if name in stated else mine
            if len(theirs) != len(mine):
                return f"it has {len(theirs)} {name}, expected {len(mine)}: {', '.join(mine)}"
            for at, (one, other) in enumerate(zip(mine, theirs, strict=True)):
                if one != other:
                    return f"its {name}[{at}] is {str(other)[:80]!r}, expected {one!r}"
        return ""
