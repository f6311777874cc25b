"""Tasks with native simulators, by id. Importing this loads numpy and nothing heavier."""

from functools import partial

from envs.tasks.base import Start as Start
from envs.tasks.base import Task as Task
from envs.tasks.base import TaskDef as TaskDef
from envs.tasks.base import load_model as load_model
from envs.tasks.goal_task import GoalTask as GoalTask
from envs.tasks.goals import point_maze, push_t, reacher_goal, two_room
from envs.tasks.goals.point_maze import PointMaze
from envs.tasks.goals.push_t import PushT
from envs.tasks.goals.reacher_goal import ReacherGoal
from envs.tasks.goals.two_room import TwoRoom
from envs.tasks.suite.acrobot import Acrobot
from envs.tasks.suite.ball_in_cup import BallInCup
from envs.tasks.suite.cartpole import Cartpole
from envs.tasks.suite.cheetah import Cheetah
from envs.tasks.suite.finger import Spin, Turn
from envs.tasks.suite.hopper import Hopper
from envs.tasks.suite.pendulum import Pendulum
from envs.tasks.suite.point_mass import PointMass
from envs.tasks.suite.reacher import Reacher
from envs.tasks.suite.walker import Walker

_SPIN_OBS = (("position", 4), ("velocity", 3), ("touch", 2))
_TURN_OBS = (*_SPIN_OBS, ("target_position", 2), ("dist_to_target", 1))


def _acrobot(sparse: bool) -> TaskDef:
    make = partial(Acrobot, sparse=sparse)
    return TaskDef("acrobot", make, (("orientations", 4), ("velocity", 2)), 1, 0.01, 1, 10)


def _cartpole(swing_up: bool, sparse: bool) -> TaskDef:
    make = partial(Cartpole, swing_up=swing_up, sparse=sparse)
    return TaskDef("cartpole", make, (("position", 3), ("velocity", 2)), 1, 0.01, 1, 10)


def _hopper(hopping: bool) -> TaskDef:
    obs_names = (("position", 6), ("velocity", 7), ("touch", 2))
    return TaskDef("hopper", partial(Hopper, hopping=hopping), obs_names, 4, 0.005, 4, 20)


def _reacher(target_size: float) -> TaskDef:
    obs_names = (("position", 2), ("to_target", 2), ("velocity", 2))
    return TaskDef("reacher", partial(Reacher, target_size=target_size), obs_names, 2, 0.02, 1, 20)


def _turn(target_size: float) -> TaskDef:
    return TaskDef("finger", partial(Turn, target_size=target_size), _TURN_OBS, 2, 0.01, 2, 20)


_POINT_OBS = (("position", 2), ("velocity", 2))
_PUSH_OBS = (("pusher", 2), ("block", 4), ("velocity", 5))
_ARM_OBS = (("angles", 4), ("velocity", 2))


def _walker(speed: float) -> TaskDef:
    obs_names = (("orientations", 14), ("height", 1), ("velocity", 9))
    return TaskDef("walker", partial(Walker, speed=speed), obs_names, 6, 0.0025, 10, 25)


TASKS: dict[str, TaskDef] = {
    "acrobot-swingup": _acrobot(sparse=False),
    "acrobot-swingup_sparse": _acrobot(sparse=True),
    "ball_in_cup-catch": TaskDef(
        "ball_in_cup", BallInCup, (("position", 4), ("velocity", 4)), 2, 0.002, 10, 20
    ),
    "cartpole-balance": _cartpole(swing_up=False, sparse=False),
    "cartpole-balance_sparse": _cartpole(swing_up=False, sparse=True),
    "cartpole-swingup": _cartpole(swing_up=True, sparse=False),
    "cartpole-swingup_sparse": _cartpole(swing_up=True, sparse=True),
    "cheetah-run": TaskDef("cheetah", Cheetah, (("position", 8), ("velocity", 9)), 6, 0.01, 1, 10),
    "finger-spin": TaskDef("finger", Spin, _SPIN_OBS, 2, 0.01, 2, 20),
    "finger-turn_easy": _turn(0.07),
    "finger-turn_hard": _turn(0.03),
    "hopper-hop": _hopper(hopping=True),
    "hopper-stand": _hopper(hopping=False),
    "pendulum-swingup": TaskDef(
        "pendulum", Pendulum, (("orientation", 2), ("velocity", 1)), 1, 0.02, 1, 20
    ),
    "point_mass-easy": TaskDef(
        "point_mass", PointMass, (("position", 2), ("velocity", 2)), 2, 0.02, 1, 20
    ),
    "point-maze": TaskDef(
        "point_maze", PointMaze, _POINT_OBS, 2, 0.01, 5, 20, xml=point_maze.model_xml
    ),
    "push-t": TaskDef("push_t", PushT, _PUSH_OBS, 2, 0.005, 10, 20, xml=push_t.model_xml),
    "reacher-easy": _reacher(0.05),
    "reacher-goal": TaskDef(
        "reacher", ReacherGoal, _ARM_OBS, 2, 0.02, 2, 8, xml=reacher_goal.model_xml
    ),
    "reacher-hard": _reacher(0.015),
    "two-room": TaskDef("two_room", TwoRoom, _POINT_OBS, 2, 0.01, 5, 10, xml=two_room.model_xml),
    "walker-run": _walker(8.0),
    "walker-stand": _walker(0.0),
    "walker-walk": _walker(1.0),
}
