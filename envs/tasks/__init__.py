"""Tasks with native simulators, by id. Importing this loads numpy and nothing heavier."""

from functools import partial

from envs.tasks.base import Start as Start
from envs.tasks.base import Task as Task
from envs.tasks.base import TaskDef as TaskDef
from envs.tasks.base import load_model as load_model
from envs.tasks.cartpole import Cartpole
from envs.tasks.cheetah import Cheetah
from envs.tasks.walker import Walker

_CARTPOLE = (("position", 3), ("velocity", 2))
_CHEETAH = (("position", 8), ("velocity", 9))
_WALKER = (("orientations", 14), ("height", 1), ("velocity", 9))


def _cartpole(swing_up: bool, sparse: bool) -> TaskDef:
    make = partial(Cartpole, swing_up=swing_up, sparse=sparse)
    return TaskDef("cartpole", make, _CARTPOLE, 1, 0.01, 1, 10)


def _walker(speed: float) -> TaskDef:
    return TaskDef("walker", partial(Walker, speed=speed), _WALKER, 6, 0.0025, 10, 25)


TASKS: dict[str, TaskDef] = {
    "cartpole-balance": _cartpole(swing_up=False, sparse=False),
    "cartpole-balance_sparse": _cartpole(swing_up=False, sparse=True),
    "cartpole-swingup": _cartpole(swing_up=True, sparse=False),
    "cartpole-swingup_sparse": _cartpole(swing_up=True, sparse=True),
    "cheetah-run": TaskDef("cheetah", Cheetah, _CHEETAH, 6, 0.01, 1, 10),
    "walker-run": _walker(8.0),
    "walker-stand": _walker(0.0),
    "walker-walk": _walker(1.0),
}
