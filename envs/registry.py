"""Every environment by id, whatever simulates it.

cartpole-swingup               a native batch, or the dm_control adapter where there is none
dmc/cartpole-swingup           the dm_control adapter in any case
HalfCheetah-v5                 any continuous Gymnasium id
my_envs:Arm-v0                 one that the module my_envs registers (envs.imports: who may say so)
ogbench:cube-single-v0         OGBench's mazes and cubes, with goals (extra [ogbench])
multi:a,b,c                    several of them behind one spec, for one model (wrappers.multi)
latentmpc/cartpole-swingup-v0  the name under which Gymnasium knows the first
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from envs.imports import imported
from envs.native.env import make_native, native_spec
from envs.native.shift import Shift, as_shifts
from envs.spec import EnvError, EnvSpec, UnknownTaskError
from envs.task_list import OGBENCH
from envs.task_list import PREFIX as MULTI
from envs.tasks import TASKS, TaskDef

DMC_REPEAT, GYM_REPEAT = 2, 1
NAMESPACE, VERSION, FORCE_DMC = "latentmpc/", "-v0", "dmc/"
GYM_IDS = (
    "Ant-v5",
    "HalfCheetah-v5",
    "Hopper-v5",
    "Humanoid-v5",
    "HumanoidStandup-v5",
    "InvertedDoublePendulum-v5",
    "InvertedPendulum-v5",
    "Pusher-v5",
    "Reacher-v5",
    "Swimmer-v5",
    "Walker2d-v5",
    "MountainCarContinuous-v0",
    "Pendulum-v1",
)


@dataclass(frozen=True)
class TaskInfo:
    """One row of the list of tasks; sizes are None where they take a simulator to know."""

    env_id: str
    backend: str
    obs_dim: int | None
    action_dim: int | None
    note: str


def make_vec(
    env_id: str,
    num_envs: int,
    *,
    action_repeat: int = 0,
    num_threads: int = 0,
    seed: int | None = None,
    shift: Shift | str | Sequence[Shift | str] | None = None,
) -> Any:
    """Vector environment of `num_envs` simulators, all under the contract of `envs.native.env`.

    `action_repeat=0` takes the default: 2 for native and dm_control tasks, 1 for other ids.
    `shift` changes the world, of all simulators alike or of each (a list): a `Shift`, or text
    such as `mass=1.5 obs_delay=1`. Raises UnknownTaskError (with the nearest name) or EnvError.
    """
    kind, name = resolve(env_id)
    shifts = as_shifts(shift, num_envs)
    if kind == "native":
        repeat = action_repeat or DMC_REPEAT
        env = make_native(name, num_envs, repeat, num_threads, seed, shifts)
        return _disturbed(env, shifts, seed)
    if kind == "multi":
        from envs.wrappers.multi import make_multi

        making = {"make_spec": make_spec, "make_vec": make_vec}
        return make_multi(name, num_envs, action_repeat, num_threads, seed, shifts, **making)
    physical = [str(s) for s in shifts if s.physical]
    if physical:
        raise EnvError(
            f"{env_id} is simulated by {kind}, where only noise and delays can be shifted, not "
            f"{physical[0]!r}; native tasks take every shift"
        )
    if kind == "dmc":
        from envs.adapters.dmc import make_dmc

        env = make_dmc(name, num_envs, action_repeat or DMC_REPEAT, _plain(env_id))
    elif kind == "ogbench":
        from envs.adapters.ogbench import make_ogbench

        env = make_ogbench(name, num_envs, action_repeat or GYM_REPEAT)
    else:
        from envs.adapters.gym import make_gym

        env = make_gym(name, num_envs, action_repeat or GYM_REPEAT)
    if seed is not None:
        env.reset(seed=seed)
    return _disturbed(env, shifts, seed)


def _disturbed(env: Any, shifts: list[Shift], seed: int | None) -> Any:
    """`env`, behind noise and delays where a shift has them."""
    if not any(s.disturbing for s in shifts):
        return env
    from envs.wrappers.disturb import DisturbedVectorEnv

    return DisturbedVectorEnv(env, shifts, seed)


def make_spec(env_id: str, action_repeat: int = 0) -> EnvSpec:
    """Spec of an environment. Raises UnknownTaskError or EnvError."""
    kind, name = resolve(env_id)
    if kind == "native":
        return native_spec(name, action_repeat or DMC_REPEAT)
    if kind == "multi":
        from envs.wrappers.multi import multi_spec

        return multi_spec(name, action_repeat, make_spec)
    if kind == "dmc":
        from envs.adapters.dmc import dmc_spec

        return dmc_spec(name, action_repeat or DMC_REPEAT, _plain(env_id))
    if kind == "ogbench":
        from envs.adapters.ogbench import ogbench_spec

        return ogbench_spec(name, action_repeat or GYM_REPEAT)
    from envs.adapters.gym import gym_spec

    return gym_spec(name, action_repeat or GYM_REPEAT)


def _plain(env_id: str) -> str:
    """The id without Gymnasium's namespace and version."""
    if env_id.startswith(NAMESPACE):
        return env_id.removeprefix(NAMESPACE).removesuffix(VERSION)
    return env_id


def resolve(env_id: str) -> tuple[str, str]:
    """(kind, name) of an id; kind is native, multi, dmc, ogbench or gym.

    Raises UnknownTaskError.
    """
    name = _plain(env_id)
    if name in TASKS:
        return "native", name
    if name.startswith(MULTI):
        return "multi", name
    if name.startswith(OGBENCH):
        from envs.adapters.ogbench import checked_name

        return "ogbench", checked_name(name.removeprefix(OGBENCH))
    if imported(name):
        return "gym", _registered(name)
    forced = name.startswith(FORCE_DMC)
    bare = name.removeprefix(FORCE_DMC)
    if not forced and bare in _gymnasium_ids():
        return "gym", bare
    from envs.adapters.dmc import dmc_names

    names = dmc_names()
    if bare in names:
        return "dmc", bare
    known = [*names, *GYM_IDS, *_gymnasium_ids()]
    near = difflib.get_close_matches(bare, known, n=1, cutoff=0.0)[0]
    raise UnknownTaskError(
        f"unknown task {env_id!r}: did you mean {near}? `latentmpc tasks` lists them"
    )


def _registered(name: str) -> str:
    """`module:Id` as it is, if the module has registered the id."""
    module, _, env_id = name.rpartition(":")
    if env_id not in _gymnasium_ids():
        raise UnknownTaskError(f"{name}: {module} registers no {env_id!r} with Gymnasium")
    return name


def native_task(env_id: str) -> TaskDef | None:
    """The task that native simulators have under an id; None for any other id."""
    return TASKS.get(_plain(env_id))


def _gymnasium_ids() -> list[str]:
    import gymnasium

    return [name for name in gymnasium.registry if not name.startswith(NAMESPACE)]


def list_tasks() -> list[TaskInfo]:
    """All tasks: native ones, the rest of dm_control's suite, MuJoCo and classic Gymnasium ids."""
    from envs.adapters.dmc import dmc_names
    from envs.adapters.ogbench import IDS as OGBENCH_IDS

    native = [
        TaskInfo(name, "native", task.obs_dim, task.action_dim, _native_note(task))
        for name, task in sorted(TASKS.items())
    ]
    rest = sorted(set(dmc_names()) - set(TASKS))
    dmc = [TaskInfo(name, "dmc", None, None, "dm_control adapter") for name in rest]
    gym = [TaskInfo(name, "gym", None, None, "Gymnasium adapter") for name in GYM_IDS]
    note = "OGBench adapter, with goals"
    ogbench = [TaskInfo(OGBENCH + name, "ogbench", None, None, note) for name in OGBENCH_IDS]
    return [*native, *dmc, *gym, *ogbench]


def _native_note(task: TaskDef) -> str:
    return f"parallel MuJoCo batch{', with goals' if task.xml is not None else ''}"


def register() -> None:
    """Make every dm_control task known to Gymnasium as latentmpc/DOMAIN-TASK-v0; idempotent.

    `gymnasium.make` then gives a single environment, `gymnasium.make_vec` the batch itself.
    """
    import gymnasium

    from envs.adapters.dmc import dmc_names

    for name in sorted({*TASKS, *dmc_names()}):
        env_id = f"{NAMESPACE}{name}{VERSION}"
        if env_id not in gymnasium.registry:
            gymnasium.register(
                env_id,
                entry_point="envs.wrappers.single:SingleEnv",
                vector_entry_point="envs.registry:make_registered_vec",
                kwargs={"task": name},
                disable_env_checker=True,
                order_enforce=False,
            )


def make_registered_vec(
    task: str,
    num_envs: int = 1,
    action_repeat: int = 0,
    num_threads: int = 0,
    render_mode: str | None = None,
    shift: str = "",
) -> Any:
    """What `gymnasium.make_vec` calls."""
    if render_mode not in (None, "rgb_array"):
        raise EnvError(f"render_mode must be None or 'rgb_array', got {render_mode!r}")
    repeat, threads = action_repeat, num_threads
    env = make_vec(task, num_envs, action_repeat=repeat, num_threads=threads, shift=shift)
    env.render_mode = render_mode
    return env
