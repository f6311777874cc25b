"""Any continuous Gymnasium environment behind the vector contract."""

import contextlib
import logging
import warnings
from collections.abc import Callable
from functools import cache, partial
from importlib.metadata import version
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import load_env_creator

from envs.adapters import mjstate, saving
from envs.adapters.foreign import begun, calling, stepped, unheld
from envs.adapters.loop import Frame
from envs.adapters.spaces import Actions, Observations
from envs.native.render import Camera
from envs.spec import EnvError, EnvSpec
from envs.task_options import TaskOptions, task_options
from envs.tasks.engine import quiet_mujoco
from envs.vector import Arrays

log = logging.getLogger("latentmpc.tasks")

NEVER_TERMINATE = (
    "Pendulum-v1 HalfCheetah-v5 Reacher-v5 Swimmer-v5 Pusher-v5 HumanoidStandup-v5".split()
)


class GymSimulator:
    """One Gymnasium environment."""

    backend = "gym"

    @classmethod
    @cache
    def spec(cls, env_id: str, action_repeat: int) -> EnvSpec:
        """The spec of an id; builds one simulator. Raises EnvError if it does not fit."""
        simulator = cls(env_id)
        simulator.reset(0)
        limit = simulator.env.spec.max_episode_steps if simulator.env.spec else None
        steps = simulator.options.episode_steps
        simulator.close()
        packages = ("mujoco", "gymnasium" if cls.backend == "gym" else cls.backend)
        return EnvSpec(
            env_id=env_id,
            obs_dim=simulator.observations.size,
            action_dim=simulator.actions.size,
            obs_names=simulator.observations.parts,
            control_dt=simulator.control_dt,
            action_repeat=action_repeat,
            episode_frames=steps * action_repeat or limit or 0,
            episodic=cls.backend == "gym" and simulator.options.name not in NEVER_TERMINATE,
            backend=cls.backend,
            versions=tuple((name, version(name)) for name in packages),
        )

    def __init__(self, env_id: str) -> None:
        self.env_id, self.options = env_id, task_options(env_id)
        try:
            with quiet_mujoco():
                self.env = _make(env_id, self.options)
        except (gymnasium.error.Error, ImportError) as error:
            reason = " ".join(str(error).split())
            raise EnvError(f"Gymnasium cannot make {env_id}: {reason}") from error
        with calling(env_id, "its spaces or control period"):
            self.observations = Observations(env_id, self.env.observation_space)
            self.actions = Actions(env_id, self.env.action_space, self.options.action_range)
            self.control_dt, assumed = _control_dt(self.env, self.options)
            self._physics = saving.physics(self.env)
        self.notes = tuple(f"{env_id}: {line}" for line in (assumed, self.actions.note) if line)
        self._pristine = {
            path: {n: v.copy() for n, v in mjstate.model_arrays(model).items()}
            for path, (model, _) in self._physics.items()
        }
        self._warned = 0
        self.own_state: bool | None = None
        """Whether its own get_state() and set_state() are part of its state; None: not known."""

    def reset(self, seed: int | None) -> np.ndarray:
        """Start an episode. Raises EnvError with what the environment raises, or gives amiss."""
        with calling(self.env_id, "reset()"):
            outcome = self.env.reset(seed=seed)
        self._physics = saving.physics(self.env)  # an episode may have a new model
        self._warned = self._warnings()
        flat = self.observations.flat(begun(self.env_id, outcome))
        if reason := unheld(flat, "obs"):
            raise EnvError(f"{self.env_id}: reset() gave an observation that cannot be: {reason}")
        return flat

    def frame(self, action: np.ndarray) -> Frame:
        """One step; a rise of MuJoCo's warnings, or a number that float32 cannot hold, is invalid.

        Raises EnvError as `reset`.
        """
        with calling(self.env_id, "step()"):
            outcome = self.env.step(self.actions.of(action))
        obs, reward, terminated, truncated = stepped(self.env_id, outcome)
        flat = self.observations.flat(obs)
        reason = unheld(flat, "obs") or unheld(np.array(reward), "the reward")
        if self._warnings() > self._warned:
            reason = "MuJoCo warned of an unstable simulation"
        if reason:
            return Frame(flat, 0.0, False, True, True, reason)
        return Frame(flat, reward, terminated, truncated, False)

    def _warnings(self) -> int:
        return sum(mjstate.warnings(data) for _, data in self._physics.values())

    @property
    def unsaved(self) -> str:
        """Why a fresh environment does not go on from a saved state; "" where it does (tried)."""
        return saving_way(type(self), self.env_id)[1]

    def get_state(self) -> Arrays:
        """Everything that decides the future, unless something is `unsaved`."""
        if self.own_state is None:
            self.own_state, _ = saving_way(type(self), self.env_id)
        with calling(self.env_id, "get_state()"):
            return saving.get_state(self.env, self._pristine, self.own_state)

    def set_state(self, state: Arrays) -> None:
        """Go back to what `get_state` gave. Raises EnvError where it does not fit."""
        with calling(self.env_id, "reset()"):
            self.env.reset()
        with calling(self.env_id, "set_state()"):
            saving.set_state(self.env, state, self._pristine)
        self._physics = saving.physics(self.env)
        self._warned = self._warnings()

    def render(self, height: int, width: int) -> np.ndarray:
        """A picture of the environment's own size, cropped or padded to [height, width]."""
        if self._physics:
            model, data = next(iter(self._physics.values()))
            camera = Camera(model, height, width)  # of this moment's model
            picture = camera.picture(model, data)
            camera.close()
            return picture
        try:
            picture = np.asarray(self.env.render(), np.uint8)
            if picture.ndim != 3 or picture.shape[2] < 3:
                raise ValueError(f"render() gave {picture.shape}; expected [height, width, 3]")
        except Exception as error:  # pygame missing, no display, ...
            reason = " ".join(str(error).split()) or type(error).__name__
            raise EnvError(f"this environment cannot render: {reason}") from error
        out = np.zeros((height, width, 3), np.uint8)
        step = max(1, -(-picture.shape[0] // height), -(-picture.shape[1] // width))
        small = picture[::step, ::step, :3][:height, :width]  # no alpha
        out[: small.shape[0], : small.shape[1]] = small
        return out

    def close(self) -> None:
        """Close it; what it raises then is one line of the log."""
        try:
            with calling(self.env_id, "close()"):
                self.env.close()
        except EnvError as error:
            log.warning("%s", error)


@cache
def saving_way(simulator: type[GymSimulator], env_id: str) -> tuple[bool, str]:
    """Whether states are saved by the environment's own functions, and why they are none.

    Tried with two simulators, one set to the other's state; "" where they never part.
    """
    reason = ""
    for own in (False, True):
        pair = simulator(env_id), simulator(env_id)
        if own and not saving.has_own(pair[0].env):
            continue
        for one in pair:
            one.own_state = own
        with quiet_mujoco():
            found = saving.difference(*pair)
        for one in pair:
            one.close()
        if not found:
            return own, ""
        reason = reason or found
    return False, reason


def _make(env_id: str, options: TaskOptions) -> Any:
    """The environment, able to render if its class says that it can. Raises EnvError."""
    name = options.name.rpartition(":")[2]  # its module has been imported
    made_by = gymnasium.spec(name).entry_point
    with calling(env_id, "its constructor"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*WARN:")  # hints; `latentmpc check` has them
        creator = load_env_creator(made_by) if isinstance(made_by, str) else made_by
        modes = getattr(creator, "metadata", {}).get("render_modes") or ()
        making: dict[str, Any] = {"render_mode": "rgb_array"} if "rgb_array" in modes else {}
        if options.episode_steps:
            making["max_episode_steps"] = -1  # the vector environment has that limit
        make = partial(gymnasium.make, name, disable_env_checker=True, **options.arguments)
        try:
            return make(**making)
        except TypeError as error:
            if "argument 'render_mode'" not in str(error) or not making.pop("render_mode", ""):
                raise
            return make(**making)  # its metadata says more than its constructor takes


def _control_dt(env: Any, options: TaskOptions) -> tuple[float, str]:
    """Seconds of a frame, and what is to be said where nobody gives them."""
    if options.control_dt:
        return options.control_dt, ""
    core = env.unwrapped
    periods, rates = ("control_dt", "control_timestep"), ("control_hz", "control_freq")
    said = [_seconds(partial(getattr, core, name)) for name in periods]
    said += [_seconds(partial(getattr, core, name), -1) for name in rates]
    if given := next(filter(None, said), 0.0):
        return given, ""
    step = _seconds(lambda: core.dt)
    shown = _seconds(lambda: core.metadata["render_fps"], -1)
    if step and shown and not 0.9 < step / shown < 1.1:
        return step, (
            f"its control period is {step:g} s by its dt and {shown:g} s by "
            "metadata['render_fps']; taken as the first (--control-dt SECONDS changes it)"
        )
    if step or shown:
        return step or shown, ""
    return 0.02, (
        "its control period is not given (control_dt, dt or metadata['render_fps']); taken as "
        "0.02 s (--control-dt SECONDS changes it)"
    )


def _seconds(given: Callable[[], Any], power: int = 1) -> float:
    """What somebody gives as seconds, or with power -1 as a rate; 0 if it is neither, or fails."""
    with contextlib.suppress(Exception):
        value = given()
        seconds = float(np.asarray(value() if callable(value) else value, float)) ** power
        return seconds if 0 < seconds < np.inf else 0.0
    return 0.0
