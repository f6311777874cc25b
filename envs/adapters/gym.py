"""Any continuous Gymnasium environment behind the vector contract."""

from functools import cache
from importlib.metadata import version
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import load_env_creator

from envs.adapters import mjstate
from envs.adapters.loop import Frame, scaled
from envs.native.render import Camera
from envs.native.streams import pack_streams, unpack_streams
from envs.spec import EnvError, EnvSpec
from envs.tasks.engine import quiet_mujoco
from envs.vector import Arrays, part_of

NEVER_TERMINATE = (
    "Pendulum-v1 HalfCheetah-v5 Reacher-v5 Swimmer-v5 Pusher-v5 HumanoidStandup-v5".split()
)
_ELAPSED = "_elapsed_steps"  # of Gymnasium's wrapper TimeLimit
_NOT_STATE = ("spec", "_np_random", "_np_random_seed", "render_mode", "screen", "clock")


class UnfitEnvError(EnvError):
    """The environment exists, but its actions or observations are of another kind."""

    exit_code = 2


class GymSimulator:
    """One Gymnasium environment."""

    backend = "gym"

    @classmethod
    @cache
    def spec(cls, env_id: str, action_repeat: int) -> EnvSpec:
        """The spec of an id; builds one simulator. Raises EnvError if it does not fit."""
        simulator = cls(env_id)
        env, obs_dim = simulator.env, int(simulator.reset(0).size)
        limit = env.spec.max_episode_steps if env.spec else None
        simulator.check_saving()
        simulator.close()
        packages = ("mujoco", "gymnasium" if cls.backend == "gym" else cls.backend)
        return EnvSpec(
            env_id=env_id,
            obs_dim=obs_dim,
            action_dim=int(np.prod(env.action_space.shape or (1,))),
            obs_names=(("obs", obs_dim),),
            control_dt=simulator.control_dt,
            action_repeat=action_repeat,
            episode_frames=limit or 0,
            episodic=cls.backend == "gym" and env_id not in NEVER_TERMINATE,
            backend=cls.backend,
            versions=tuple((name, version(name)) for name in packages),
        )

    def __init__(self, env_id: str) -> None:
        try:
            with quiet_mujoco():
                env = _make(env_id)
        except (gymnasium.error.Error, ImportError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise EnvError(f"Gymnasium cannot make {env_id}: {reason}") from error
        self.env = env
        _check_spaces(env_id, env)
        space = env.action_space
        self._low, self._high = np.ravel(space.low), np.ravel(space.high)  # pyright: ignore
        self._warned = 0

    @property
    def control_dt(self) -> float:
        """Seconds of a frame, where the environment says; else a fiftieth."""
        value = getattr(self.env.unwrapped, "dt", None)
        return float(value) if isinstance(value, int | float) and value > 0 else 0.02

    def reset(self, seed: int | None) -> np.ndarray:
        """Start an episode."""
        obs, _ = self.env.reset(seed=seed)
        self._warned = self._warnings()
        return self._flat(obs)

    def frame(self, action: np.ndarray) -> Frame:
        """One step; a rise of MuJoCo's warnings, or a number that is not one, is invalid."""
        space = self.env.action_space
        control = scaled(action, self._low, self._high).reshape(space.shape)
        obs, reward, terminated, truncated, _ = self.env.step(control.astype(space.dtype))
        flat = self._flat(obs)
        finite = np.isfinite(flat).all() and np.isfinite(float(reward))
        if self._warnings() > self._warned or not finite:
            return Frame(flat, 0.0, False, True, True)
        return Frame(flat, float(reward), bool(terminated), bool(truncated), False)

    def _flat(self, obs: Any) -> np.ndarray:
        return np.asarray(spaces.flatten(self.env.observation_space, obs), np.float64)

    @property
    def _mujoco(self) -> bool:
        env: Any = self.env.unwrapped
        return getattr(env, "data", None) is not None and hasattr(env, "model")

    def _warnings(self) -> int:
        env: Any = self.env.unwrapped
        return mjstate.warnings(env.data) if self._mujoco else 0

    def get_state(self) -> Arrays:
        """Physics or numeric attributes, the random stream, the steps taken."""
        env: Any = self.env.unwrapped
        numbers = mjstate.plain_attributes(env, skip=_NOT_STATE)
        state = {f"env/{name}": value for name, value in numbers.items()}
        if self._mujoco:
            state |= mjstate.get_state(env.model, env.data)
        state["random"] = pack_streams([env.np_random])
        elapsed = self.env.has_wrapper_attr(_ELAPSED) and self.env.get_wrapper_attr(_ELAPSED)
        state["elapsed"] = np.array(elapsed or 0)
        return state

    def set_state(self, state: Arrays) -> None:
        """Go back to what `get_state` gave."""
        env: Any = self.env.unwrapped
        self.env.reset()
        mjstate.set_plain_attributes(env, part_of(state, "env/"))
        if "physics" in state:
            mjstate.set_state(env.model, env.data, state)
        env.np_random = unpack_streams(state["random"])[0]
        if self.env.has_wrapper_attr(_ELAPSED):
            self.env.set_wrapper_attr(_ELAPSED, int(state["elapsed"]))
        self._warned = self._warnings()

    def render(self, height: int, width: int) -> np.ndarray:
        """A picture of the environment's own size, cropped or padded to [height, width]."""
        env: Any = self.env.unwrapped
        if self._mujoco:
            camera = Camera(env.model, height, width)  # of this moment's model
            picture = camera.picture(env.model, env.data)
            camera.close()
            return picture
        try:
            picture = np.asarray(self.env.render(), np.uint8)
        except Exception as error:  # pygame missing, no display, ...
            raise EnvError(
                f"this environment cannot render: {' '.join(str(error).split())}"
            ) from error
        out = np.zeros((height, width, 3), np.uint8)
        step = max(1, -(-picture.shape[0] // height), -(-picture.shape[1] // width))
        small = picture[::step, ::step][:height, :width]
        out[: small.shape[0], : small.shape[1]] = small
        return out

    def close(self) -> None:
        """Close it."""
        self.env.close()

    def check_saving(self) -> None:
        """Save, step, go back, step again: refuse what does not repeat itself. Raises EnvError."""
        action = np.full(self._low.shape, 0.1)
        self.frame(action)
        saved = self.get_state()
        first = self.frame(action)
        self.set_state(saved)
        if not np.array_equal(first.obs, self.frame(action).obs, equal_nan=True):
            raise EnvError(
                f"{self.env.spec and self.env.spec.id} keeps its state where it cannot be saved, "
                "so a run could not be resumed: keep it in numeric attributes (self.x = ...)"
            )


def _make(env_id: str) -> Any:
    """The environment, able to render if its class says that it can."""
    env_id = env_id.rpartition(":")[2]  # its module has been imported
    made_by = gymnasium.spec(env_id).entry_point
    creator = load_env_creator(made_by) if isinstance(made_by, str) else made_by
    modes = getattr(creator, "metadata", {}).get("render_modes") or ()
    rendering: dict[str, Any] = {"render_mode": "rgb_array"} if "rgb_array" in modes else {}
    return gymnasium.make(env_id, disable_env_checker=True, **rendering)


def _check_spaces(env_id: str, env: Any) -> None:
    """Refuse what a continuous state controller cannot drive. Raises UnfitEnvError."""
    if not isinstance(env.action_space, spaces.Box):
        raise UnfitEnvError(
            f"{env_id} has actions of kind {type(env.action_space).__name__}; expected continuous "
            "ones (Box): `latentmpc tasks` lists tasks that fit"
        )
    seen = env.observation_space
    pixels = isinstance(seen, spaces.Box) and seen.dtype == np.uint8
    if pixels or not seen.is_np_flattenable:
        raise UnfitEnvError(
            f"{env_id} observes {seen}; expected a vector of numbers: "
            "`latentmpc tasks` lists tasks that fit"
        )
