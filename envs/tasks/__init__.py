"""Tasks with native simulators, by id. Importing this loads numpy and nothing heavier."""

from functools import cache
from importlib.metadata import EntryPoint, entry_points

from envs import imports
from envs.spec import UnknownTaskError, nearest
from envs.tasks import scene as scene
from envs.tasks.base import Start as Start
from envs.tasks.base import Task as Task
from envs.tasks.base import variant
from envs.tasks.goal_task import GoalTask as GoalTask
from envs.tasks.goals.point_maze import PointMaze
from envs.tasks.goals.push_t import PushT
from envs.tasks.goals.reacher_goal import ReacherGoal
from envs.tasks.goals.two_room import TwoRoom
from envs.tasks.stored import stored_task, with_stored_model
from envs.tasks.suite.locomotion import Cheetah, Hopper, Walker
from envs.tasks.suite.manipulation import BallInCup, PointMass, Reacher, Spin, Turn
from envs.tasks.suite.swing_up import Acrobot, Cartpole, Pendulum

TASKS: dict[str, type[Task]] = {
    "acrobot-swingup": Acrobot,
    "acrobot-swingup_sparse": variant(Acrobot, sparse=True),
    "ball_in_cup-catch": BallInCup,
    "cartpole-balance": Cartpole,
    "cartpole-balance_sparse": variant(Cartpole, sparse=True),
    "cartpole-swingup": variant(Cartpole, swing_up=True),
    "cartpole-swingup_sparse": variant(Cartpole, swing_up=True, sparse=True),
    "cheetah-run": Cheetah,
    "finger-spin": Spin,
    "finger-turn_easy": Turn,
    "finger-turn_hard": variant(Turn, target_size=0.03),
    "hopper-hop": variant(Hopper, hopping=True),
    "hopper-stand": Hopper,
    "pendulum-swingup": Pendulum,
    "point_mass-easy": PointMass,
    "point-maze": PointMaze,
    "push-t": PushT,
    "reacher-easy": Reacher,
    "reacher-goal": ReacherGoal,
    "reacher-hard": variant(Reacher, target_size=0.015),
    "two-room": TwoRoom,
    "walker-run": variant(Walker, speed=8.0),
    "walker-stand": Walker,
    "walker-walk": variant(Walker, speed=1.0),
}


def task_class(env_id: str) -> type[Task]:
    """The class of a native task. Raises UnknownTaskError, with the nearest name."""
    if found := native_task(env_id):
        return found
    raise UnknownTaskError(f"no native task {env_id!r}; the nearest is {nearest(env_id, TASKS)!r}")


def native_task(env_id: str) -> type[Task] | None:
    """The class of a native task: of TASKS, of an installed package, `FILE.py:CLASS` of a user.

    Or what was stored of one, where that is to be used (`envs.imports.use_stored`). None for ids
    of other simulators. Raises UnknownTaskError where what is named cannot be loaded.
    """
    if env_id in TASKS:
        return TASKS[env_id]
    if not (kept := imports.stored(env_id)):
        return _named(env_id)
    if not kept.model_only:
        return stored_task(kept.folder, kept.digest)
    found = _named(env_id)
    return with_stored_model(found, kept.folder, kept.digest) if found else None


def _named(env_id: str) -> type[Task] | None:
    """The class that an id names by its module, file or package."""
    if module := imports.imported(env_id):
        found = getattr(module, env_id.rpartition(":")[2], None)
    else:
        found = offered()[env_id].load() if env_id in offered() else None
    return found if isinstance(found, type) and issubclass(found, Task) else None


@cache
def offered() -> dict[str, EntryPoint]:
    """Tasks of installed packages, by the name under which they offer them."""
    return {entry.name: entry for entry in entry_points(group="latentmpc.tasks")}
