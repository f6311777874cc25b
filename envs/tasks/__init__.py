"""Tasks with native simulators, by id. Importing this loads numpy and nothing heavier."""

from envs.spec import UnknownTaskError, nearest
from envs.tasks.base import Start as Start
from envs.tasks.base import Task as Task
from envs.tasks.base import variant
from envs.tasks.goal_task import GoalTask as GoalTask
from envs.tasks.goals.point_maze import PointMaze
from envs.tasks.goals.push_t import PushT
from envs.tasks.goals.reacher_goal import ReacherGoal
from envs.tasks.goals.two_room import TwoRoom
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
    if env_id not in TASKS:
        near = nearest(env_id, TASKS)
        raise UnknownTaskError(f"no native task {env_id!r}; the nearest is {near!r}")
    return TASKS[env_id]
