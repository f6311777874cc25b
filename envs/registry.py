"""Every environment by id, whatever simulates it.

cartpole-swingup               a native batch, or the dm_control adapter where there is none
dmc/cartpole-swingup           the dm_control adapter in any case
HalfCheetah-v5                 any continuous Gymnasium id
my_envs:Arm-v0                 one that the module my_envs registers (envs.imports: who may say so)
Ant-v5?frame_skip=25           with arguments of its constructor, and settings (envs.task_options)
ogbench:cube-single-v0         OGBench's mazes and cubes, with goals (extra [ogbench])
multi:a,b,c                    several of them behind one spec, for one model (wrappers.multi)
latentmpc/cartpole-swingup-v0  the name under which Gymnasium knows the first
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import ModuleType
from typing import Any

import gymnasium

from envs.imports import imported, require_permission
from envs.native.env import NativeVectorEnv, native_spec
from envs.native.shift import Shift, as_shifts
from envs.spec import EnvError, EnvSpec, UnknownTaskError, nearest
from envs.task_list import OGBENCH
from envs.task_list import PREFIX as MULTI
from envs.task_options import without_options
from envs.tasks import TASKS, GoalTask, Task, native_task, offered

DMC_REPEAT, GYM_REPEAT = 2, 1
NAMESPACE, VERSION, FORCE_DMC = "latentmpc/", "-v0", "dmc/"
GYM_IDS = (
    "Ant-v5 HalfCheetah-v5 Hopper-v5 Humanoid-v5 HumanoidStandup-v5 InvertedDoublePendulum-v5 "
    "InvertedPendulum-v5 Pusher-v5 Reacher-v5 Swimmer-v5 Walker2d-v5 MountainCarContinuous-v0 "
    "Pendulum-v1"
).split()


@dataclass(frozen=True)
class TaskInfo:
    """One row of the list of tasks; sizes are None where they take a simulator to know."""

    env_id: str
    backend: str
    obs_dim: int | None
    action_dim: int | None
    note: str


def _adapter(kind: str) -> tuple[int, Any, Any]:
    """The adapter of dmc, gym or ogbench: imported here, as it loads what it adapts.

    (Frames per decision where none are asked for, class of one simulator, class of many.)
    """
    from envs.adapters.loop import LoopVectorEnv

    if kind == "dmc":
        from envs.adapters.dmc import DmcSimulator

        return DMC_REPEAT, DmcSimulator, LoopVectorEnv
    if kind == "ogbench":
        from envs.adapters.ogbench import OGBenchSimulator, OGBenchVectorEnv

        return GYM_REPEAT, OGBenchSimulator, OGBenchVectorEnv
    from envs.adapters.gym import GymSimulator

    return GYM_REPEAT, GymSimulator, LoopVectorEnv


def make_vec(
    env_id: str,
    num_envs: int,
    *,
    action_repeat: int = 0,
    num_threads: int = 0,
    seed: int | None = None,
    shift: Shift | str | Sequence[Shift | str] | None = None,
    endless: bool = False,
) -> Any:
    """Vector environment of `num_envs` simulators, all under the contract of `envs.vector`.

    `action_repeat=0` takes the default: 2 for native and dm_control tasks, 1 for other ids.
    `shift` changes the world, of all simulators alike or of each (a list): a `Shift`, or text
    such as `mass=1.5 obs_delay=1`. Only with `endless` may the episodes be without a time limit.
    Raises UnknownTaskError (with the nearest name), UnfitEnvError or EnvError.
    """
    kind, name = resolve(env_id)
    shifts = as_shifts(shift, num_envs)
    if kind == "multi":
        from envs.wrappers.multi import make_multi

        making = {"action_repeat": action_repeat, "num_threads": num_threads, "seed": seed}
        making["endless"] = endless
        one = partial(make_vec, **making)
        return make_multi(name, num_envs, action_repeat, shifts, make_spec, one)
    physical = [str(s) for s in shifts if s.physical]
    if kind == "native":
        spec = make_spec(env_id, action_repeat)
        env = NativeVectorEnv(spec, num_envs, num_threads, seed, shifts)
    elif physical:
        raise EnvError(
            f"{env_id} is simulated by {kind}, where only noise and delays can be shifted, not "
            f"{physical[0]!r}; native tasks take every shift"
        )
    else:
        _, simulator, many = _adapter(kind)
        spec = make_spec(env_id, action_repeat)
        if not endless:
            spec.require_limit()
        env = many(simulator, spec, name, num_envs)
        if seed is not None:
            env.reset(seed=seed)
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
    usual_repeat, simulator, _ = _adapter(kind)
    return replace(simulator.spec(name, action_repeat or usual_repeat), env_id=_plain(env_id))


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
    if name.startswith(MULTI):
        return "multi", name
    require_permission(name)
    kind, found = _resolved(env_id, name := without_options(whole := name))
    options = whole.removeprefix(name)
    if options and kind != "gym":
        raise UnknownTaskError(
            f"{name} is no Gymnasium environment and takes no {options!r}: --env.NAME, "
            "--episode-steps, --control-dt and --action-range are for those"
        )
    return kind, found + options


def _resolved(env_id: str, name: str) -> tuple[str, str]:
    """The same without options."""
    if native_task(name):
        return "native", name
    if name.startswith(OGBENCH):
        from envs.adapters.ogbench import checked_name

        return "ogbench", checked_name(name.removeprefix(OGBENCH))
    if module := imported(name):
        return "gym", _registered(name, module)
    bare = name.removeprefix(FORCE_DMC)
    if bare == name and bare in _gymnasium_ids():
        return "gym", bare
    from envs.adapters.dmc import dmc_names

    if bare in dmc_names():
        return "dmc", bare
    theirs = [name for name in _gymnasium_ids() if not _of_gymnasium(name)]
    near = nearest(bare, [*dmc_names(), *TASKS, *GYM_IDS, *theirs])
    raise UnknownTaskError(
        f"unknown task {env_id!r}: did you mean {near}? `latentmpc tasks` lists them"
    )


def _registered(name: str, module: ModuleType) -> str:
    """An id `MODULE:ID` whose module has registered it. Raises UnknownTaskError."""
    env_id = name.rpartition(":")[2]
    if env_id in _gymnasium_ids():
        return name
    has = [n for n, c in vars(module).items() if isinstance(c, type) and issubclass(c, Task)]
    tasks = ", ".join(n for n in has if n not in ("Task", "GoalTask"))
    raise UnknownTaskError(
        f"{name}: {name.rpartition(':')[0]} registers no {env_id!r} with Gymnasium, nor has it a "
        "task of this name" + (f"; its tasks are {tasks}" if tasks else "")
    )


def _of_gymnasium(name: str) -> bool:
    """Whether Gymnasium brings it: those of its that fit are GYM_IDS."""
    made_by = gymnasium.registry[name].entry_point
    module = made_by if isinstance(made_by, str) else getattr(made_by, "__module__", "")
    return module.startswith(("gymnasium.", "shimmy."))


def _gymnasium_ids() -> list[str]:
    return [name for name in gymnasium.registry if not name.startswith(NAMESPACE)]


def list_tasks() -> list[TaskInfo]:
    """All tasks: native ones, the rest of dm_control's suite, MuJoCo and classic Gymnasium ids."""
    from envs.adapters.dmc import dmc_names
    from envs.adapters.ogbench import IDS as OGBENCH_IDS

    found = []
    for name, task in sorted(TASKS.items()):
        spec, goals = native_spec(name, DMC_REPEAT), issubclass(task, GoalTask)
        note = f"parallel MuJoCo batch{', with goals' if goals else ''}"
        found.append(TaskInfo(name, "native", spec.obs_dim, spec.action_dim, note))
    for name in sorted(offered()):
        found.append(TaskInfo(name, "native", None, None, "offered by an installed package"))
    others = (
        ("dmc", sorted({*dmc_names()} - {*TASKS}), "dm_control adapter"),
        ("gym", GYM_IDS, "Gymnasium adapter"),
        ("ogbench", [OGBENCH + name for name in OGBENCH_IDS], "OGBench adapter, with goals"),
    )
    for backend, names, note in others:
        found += [TaskInfo(name, backend, None, None, note) for name in names]
    return found


def register() -> None:
    """Make every dm_control task known to Gymnasium as latentmpc/DOMAIN-TASK-v0; idempotent.

    `gymnasium.make` then gives a single environment, `gymnasium.make_vec` the batch itself.
    """
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
    task: str, num_envs: int = 1, render_mode: str | None = None, **making: Any
) -> Any:
    """What `gymnasium.make_vec` calls; takes what `make_vec` takes."""
    if render_mode not in (None, "rgb_array"):
        raise EnvError(f"render_mode must be None or 'rgb_array', got {render_mode!r}")
    env = make_vec(task, num_envs, **making)
    env.render_mode = render_mode
    return env
