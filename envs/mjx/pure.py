"""Native tasks on MJX: reset and step as pure functions of one simulator, to be vmapped.

Physics runs in float32 on the device that jax computes on; observation, reward and termination
are the same task functions that native simulators use. The first states of episodes are drawn
natively, once, into a bank from which every reset picks: settling, redrawing and model changes
cost a reset nothing. jax and MJX are imported when functions are made, not with this module.
"""

import contextlib
import io
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from typing import Any, Literal, NamedTuple

import numpy as np

from envs.native.env import native_spec
from envs.native.simulators import Simulators
from envs.spec import EnvError, EnvSpec
from envs.tasks import Task, task_class
from envs.tasks.engine import engine, quiet_mujoco

Impl = Literal["jax", "warp"]
BANK = 1024
_LIMIT = 1e10  # MuJoCo's mjMAXVAL: beyond it a state counts as unstable
_CARRIED = ("time", "qpos", "qvel", "act", "qacc_warmstart", "qacc", "sensordata")


class State(NamedTuple):
    """One simulator between two decisions."""

    data: Any
    """mjx.Data, derived fields current."""
    changes: dict[str, Any]
    """Model fields of this episode: name -> value."""
    key: Any
    """Random key; every reset splits it."""
    frames: Any
    """[] int32, frames since the episode began."""
    pending: Any
    """[] bool: the episode has ended, the next step resets."""
    obs: Any
    """[O] latest observation."""


class Step(NamedTuple):
    """What one decision of one simulator gave; `SimulatorVectorEnv` has the words."""

    obs: Any
    reward: Any
    terminated: Any
    truncated: Any
    invalid: Any
    is_reset: Any


class Pure(NamedTuple):
    """Functions for one simulator (static).

    begin(key) -> State that is about to be reset by its first step
    step(State, action [A] in [-1, 1]) -> (State, Step)
    bank: the first states of episodes, name -> [N, ...], and what is observed there
    """

    begin: Callable[[Any], State]
    step: Callable[[State, Any], tuple[State, Step]]
    bank: dict[str, np.ndarray]
    spec: EnvSpec


def load_mjx() -> Any:
    """`mujoco.mjx`, imported in silence. Raises EnvError with the command that installs it."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints that it has no warp
            from mujoco import mjx
    except ImportError as error:
        raise EnvError(
            f"backend mjx needs mujoco-mjx ({error}): pip install 'latentmpc[mjx]', or use "
            "--backend native"
        ) from error
    return mjx


def put_model(env_id: str, impl: Impl = "jax", model: Any = None) -> Any:
    """The task's model on the device. Raises EnvError naming what MJX lacks of it.

    `model` is the one its task was made on, compiled anew by default.
    """
    mjx, mujoco = load_mjx(), engine()
    if impl == "warp" and not _has_warp():
        raise EnvError(
            "backend mjx-warp needs NVIDIA's warp and a CUDA device, which are not here: pip "
            "install warp-lang on a GPU machine, or use --backend mjx"
        )
    model = model or task_class(env_id)().model
    flags = model.opt.enableflags
    model.opt.enableflags = flags & ~int(mujoco.mjtEnableBit.mjENBL_ENERGY)  # only reports
    try:
        with quiet_mujoco():
            return mjx.put_model(model, impl=impl)
    except NotImplementedError as error:
        raise EnvError(
            f"{env_id} cannot run on MJX, which lacks a feature of its model: "
            f"{' '.join(str(error).split())}; use --backend native"
        ) from error
    finally:
        model.opt.enableflags = flags


def _has_warp() -> bool:
    import jax
    from mujoco.mjx import warp

    return bool(warp.WARP_INSTALLED) and jax.default_backend() == "gpu"


def _physics(mjx: Any, model: Any, impl: Impl) -> tuple[Callable, Callable]:
    """Two halves of a step, (model, data) -> data each, so that each stage runs once.

    The first goes from current derived fields to the next state, the second makes them current;
    warp has whole steps alone.
    """
    if impl == "warp":
        return _lenient(mjx.step), _lenient(mjx.forward)
    mujoco = engine()
    kinds = mujoco.mjtIntegrator
    integrate = {
        int(kinds.mjINT_EULER): mjx.euler,
        int(kinds.mjINT_RK4): mjx.rungekutta4,
        int(kinds.mjINT_IMPLICITFAST): mjx.implicit,
    }[int(model.opt.integrator)]

    def finish(m: Any, d: Any) -> Any:
        d = mjx.fwd_acceleration(m, mjx.fwd_actuation(m, d))
        if d._impl.efc_J.size == 0:
            return integrate(m, d.replace(qacc=d.qacc_smooth))
        return integrate(m, mjx.sensor_acc(m, mjx.solve(m, d)))

    def refresh(m: Any, d: Any) -> Any:
        d = mjx.sensor_pos(m, mjx.fwd_position(m, d))
        return mjx.sensor_vel(m, mjx.fwd_velocity(m, d))

    return _lenient(finish), _lenient(refresh)


def _lenient(physics: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """MJX adds arrays of different ranks, which programs of ours may have forbidden.

    Its products are of full float32: by default GPUs round their factors to ten bits (TF32). In
    float64 its tendons also come back with wider integers, which a loop does not take.
    """
    import jax

    def run(model: Any, data: Any) -> Any:
        with jax.numpy_rank_promotion("allow"), jax.default_matmul_precision("float32"):
            after = physics(model, data)
        return jax.tree.map(lambda new, old: new.astype(old.dtype), after, data)

    return run


def start_bank(task: type[Task], count: int, seed: int) -> dict[str, np.ndarray]:
    """First states of `count` episodes, drawn and settled natively: name -> [count, ...]."""
    sims = Simulators(task, count)
    sims.reseed(seed)
    sims.start(np.arange(count))
    names = ["qpos", "qvel", "qacc_warmstart"]
    names += [name for name in ("act", "sensordata") if getattr(sims.data, name).shape[-1]]
    bank = {name: np.array(getattr(sims.data, name)) for name in names}
    bank |= {f"model/{n}": value.copy() for n, value in sims.model_fields.items()}
    return bank | {"obs": sims.task.flat_obs(np, sims.data)}


def make_pure(
    env_id: str, action_repeat: int = 2, impl: Impl = "jax", bank_size: int = BANK, seed: int = 0
) -> Pure:
    """Reset and step of a native task as pure functions. Raises UnknownTaskError or EnvError.

    `seed` decides the bank of first states.
    """
    spec = native_spec(env_id, action_repeat)
    versions = (*spec.versions, ("mujoco-mjx", version("mujoco-mjx")))
    spec = replace(spec, backend="mjx", versions=versions)
    task = task_class(env_id)()
    model = put_model(env_id, impl, task.model)
    return _functions(spec, task, model, impl, start_bank(type(task), bank_size, seed))


def _functions(spec: EnvSpec, task: Task, model: Any, impl: Impl, bank: dict) -> Pure:
    import jax
    import jax.numpy as jnp

    mjx = load_mjx()
    finish, refresh = _physics(mjx, task.model, impl)
    blank = mjx.make_data(task.model, impl=impl)
    starts = {name: jnp.asarray(v, blank.qpos.dtype) for name, v in bank.items() if name != "obs"}
    center, scale = np.float32(task.control_center), np.float32(task.control_scale)

    def select(chosen: Any, new: Any, old: Any) -> Any:
        return jax.tree.map(lambda a, b: jnp.where(chosen, a, b), new, old)

    def merge(chosen: Any, new: Any, old: Any) -> Any:
        """`old` with what decides the future from `new` where `chosen`; derived fields stale."""
        both = {n: (getattr(new, n), getattr(old, n)) for n in _CARRIED}
        return old.replace(**{n: jnp.where(chosen, *pair) for n, pair in both.items()})

    def draw(key: Any) -> tuple[Any, dict]:
        index = jax.random.randint(key, (), 0, starts["qpos"].shape[0])
        picked = {name: value[index] for name, value in starts.items()}
        changes = {n.removeprefix("model/"): v for n, v in picked.items() if "/" in n}
        return blank.replace(**{n: v for n, v in picked.items() if n in _CARRIED}), changes

    def begin(key: Any) -> State:
        changes = {n.removeprefix("model/"): v[0] for n, v in starts.items() if "/" in n}
        zero = jnp.zeros((), jnp.int32)
        return State(blank, changes, key, zero, jnp.ones((), bool), jnp.zeros(spec.obs_dim))

    def frame(m: Any, data: Any, active: Any) -> Any:
        def substep(data: Any, _: Any) -> tuple[Any, None]:
            return refresh(m, merge(active, finish(m, data), data)), None

        if task.substeps == 1:
            return substep(data, None)[0]
        return jax.lax.scan(substep, data, None, length=task.substeps)[0]

    def broken(data: Any) -> Any:
        """MuJoCo's own test of an unstable state; NaN fails every comparison."""
        parts = [data.qpos, data.qvel, data.qacc]
        return ~jnp.stack([jnp.all(jnp.abs(x) < _LIMIT) for x in parts]).all()

    def step(state: State, action: Any) -> tuple[State, Step]:
        resetting = state.pending
        key, key_start = jax.random.split(state.key)
        key = jnp.where(resetting, key, state.key)
        start, fresh = draw(key_start)
        changes = select(resetting, fresh, state.changes)
        control = center + scale * jnp.clip(action, -1.0, 1.0)
        data = merge(resetting, start, state.data)
        data = data.replace(ctrl=jnp.where(resetting, 0.0, control))
        m = model.replace(**changes) if changes else model
        false = jnp.zeros((), bool)

        def once(carry: tuple, _: Any) -> tuple[tuple, None]:
            data, active, frames, reward, terminated, truncated, invalid = carry
            data = frame(m, data, active)
            frames = frames + active
            failed = active & broken(data)
            reward = reward + jnp.where(active, task.reward(jnp, data), 0.0)
            if spec.episodic:
                terminated |= active & ~failed & task.terminated(jnp, data)
            truncated |= active & (failed | (frames >= spec.episode_frames))
            active = active & ~(terminated | truncated)
            return (data, active, frames, reward, terminated, truncated, invalid | failed), None

        frames = jnp.where(resetting, 0, state.frames)
        carry = (data, ~resetting, frames, jnp.zeros(()), false, false, false)
        carry, _ = jax.lax.scan(once, carry, None, length=spec.action_repeat)
        data, _, frames, reward, terminated, truncated, invalid = carry
        truncated &= ~terminated
        obs = jnp.where(invalid, state.obs, task.flat_obs(jnp, data))
        reward = jnp.where(invalid, 0.0, reward)
        after = State(data, changes, key, frames, terminated | truncated, obs)
        return after, Step(obs, reward, terminated, truncated, invalid, resetting)

    return Pure(begin, step, bank, spec)
