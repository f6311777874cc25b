"""Environments as strangers write them, registered when this module is imported."""

import random
from collections import defaultdict, deque, namedtuple
from enum import Enum
from types import SimpleNamespace

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import NormalizeReward

from envs.adapters.dmc import suite

LINE = spaces.Box(-9, 9, (2,))


class Toy(gymnasium.Env):
    """A point that actions push; ends by itself now and then. Subclasses change one thing each."""

    metadata = {"render_fps": 25}
    observation_space: spaces.Space = LINE
    action_space: spaces.Space = spaces.Box(-1, 3, (1,))

    def __init__(self, gain=1.0, label=""):
        self.gain, self.label = gain, label

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.normal(size=2)
        return self.observe(), {}

    def step(self, action):
        self.x = 0.9 * self.x + self.gain * float(np.sum(action)) / 10
        return self.observe(), float(self.x[0]), bool(self.x[0] > 1.6), False, {}

    def observe(self):
        return self.x.astype(np.float32)


class Goal(Toy):
    """A goal in a dict."""

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.goal = {"at": float(self.np_random.normal()), "name": "far"}
        return self.observe(), {}

    def step(self, action):
        obs, _, *rest = super().step(action)
        return obs, -abs(self.x[0] - self.goal["at"]), *rest


class Queue(Toy):
    """Actions arrive late, from a queue."""

    def reset(self, seed=None, options=None):
        self.queue = deque([0.0] * 3, maxlen=3)
        return super().reset(seed=seed)

    def step(self, action):
        late = self.queue[0]
        self.queue.append(float(action[0]))
        return super().step([late])


class OwnRandom(Toy):
    """Noise from a stream of its own, of another kind."""

    def __init__(self):
        super().__init__()
        self.rng = np.random.Generator(np.random.MT19937(3))

    def step(self, action):
        obs, reward, *rest = super().step(action)
        return obs, reward + float(self.rng.normal()), *rest


class OtherStream(Toy):
    """Gymnasium's own stream, of a kind that is not PCG64."""

    def reset(self, seed=None, options=None):
        if seed is not None or not hasattr(self, "x"):
            self.np_random = np.random.Generator(np.random.Philox(seed))
        return super().reset()


class GlobalRandom(Toy):
    """Noise from numpy's global stream, which belongs to nobody."""

    def step(self, action):
        obs, reward, *rest = super().step(action)
        return obs, reward + float(np.random.normal()), *rest


class InClosure(Toy):
    """What it knows is where nobody finds it."""

    def __init__(self):
        super().__init__()
        count = [0]

        def counted():
            count[0] += 1
            return count[0]

        self.counted = counted

    def step(self, action):
        obs, reward, *rest = super().step(action)
        return obs, reward + self.counted(), *rest


class OwnState(InClosure):
    """It says itself what nobody finds."""

    def __init__(self):
        super().__init__()
        count = [0]

        def counted(value=None):
            count[0] = count[0] + 1 if value is None else value
            return count[0]

        self.counted = counted

    def get_state(self):
        value = self.counted()
        self.counted(value - 1)
        return {"count": value - 1}

    def set_state(self, state):
        self.counted(state["count"])


class Phase(Enum):
    FAR = 1
    NEAR = 2


class Phases(Toy):
    """Where it stands is a member of an Enum, and counted by it."""

    def reset(self, seed=None, options=None):
        self.phase, self.counts = Phase.FAR, dict.fromkeys(Phase, 0)
        return super().reset(seed=seed)

    def step(self, action):
        obs, _, *rest = super().step(action)
        self.phase = Phase(1 + int(np.abs(self.x).sum() < 1))
        self.counts[self.phase] += 1
        return obs, float(self.phase.value + self.counts[Phase.NEAR] / 8), *rest


Wind = namedtuple("Wind", "speed gusts")


class Kinds(Toy):
    """Values of many kinds of Python's own."""

    def reset(self, seed=None, options=None):
        if not hasattr(self, "rng") or seed is not None:
            self.rng = random.Random(seed)
        self.visits, self.wind, self.sent = defaultdict(int), Wind(0.0, [0]), b""
        return super().reset(seed=seed)

    def step(self, action):
        obs, _, *rest = super().step(action)
        self.visits[round(float(self.x[0]))] += 1
        self.wind = Wind(self.rng.gauss(0, 1), [*self.wind.gusts, 1])
        self.sent += b"x"
        known = len(self.visits) + len(self.wind.gusts) + len(self.sent)
        return obs, self.wind.speed + known / 16, *rest


class Sharing(Toy):
    """One object of the module for all environments."""

    settings = SimpleNamespace(steps=0)

    def __init__(self):
        super().__init__()
        self.used = self.settings

    def step(self, action):
        self.used.steps += 1
        return super().step(action)


class Drawn(Toy):
    """A picture of a form that is asked for; closing fails."""

    def __init__(self, shape=(4, 6, 3)):
        super().__init__()
        self.shape = shape

    def render(self):
        return np.full(self.shape, 9)

    def close(self):
        raise OSError("no such window")


class Suite(Toy):
    """dm_control's physics and task inside."""

    observation_space = spaces.Box(-np.inf, np.inf, (5,), np.float64)
    metadata = {"render_fps": 100}

    def __init__(self):
        self.inner = suite().load("cartpole", "swingup", task_kwargs={"random": 0})

    def reset(self, seed=None, options=None):
        if seed is not None:
            self.inner.task._random = np.random.RandomState(seed)
        return self.flat(self.inner.reset()), {}

    def step(self, action):
        found = self.inner.step(action)
        return self.flat(found), float(found.reward), False, found.last(), {}

    def flat(self, found):
        return np.concatenate([np.ravel(part) for part in found.observation.values()])


class NoMuJoCo(Toy):
    """Attributes that are called as MuJoCo's."""

    model, data = "robot", (1, 2)


def normalized(**options):
    return NormalizeReward(Toy(**options))


class Periods(Toy):
    """A control period as a property."""

    @property
    def control_dt(self):
        return np.float32(0.1)


class Broken(Toy):
    """A control period that raises."""

    @property
    def control_dt(self):
        raise RuntimeError("not connected")


class NoSpace(Toy):
    """An action space that raises."""

    @property
    def action_space(self):
        raise RuntimeError("not connected")


class Disputed(Toy):
    """Two control periods."""

    dt = np.array(0.01)


class Rate(Disputed):
    """A rate of control beside them."""

    def control_hz(self):
        return 20


class Unknown(Toy):
    """Nothing says how long a step takes."""

    metadata = {}


class Whole(Toy):
    """Whole numbers as actions."""

    action_space = spaces.Box(0, 2, (1,), np.int64)

    def step(self, action):
        assert action.dtype == np.int64
        self.sent = int(action[0])
        return super().step(action)


class OpenWhole(Whole):
    """Whole numbers, of which the largest is not given."""

    action_space = spaces.Box(0, np.inf, (1,), np.int64)


class Choosing(Toy):
    """A choice, which a test sets."""

    observation_space = spaces.Dict(
        {
            "gear": spaces.Discrete(3, start=-1),
            "lamps": spaces.MultiBinary(2),
            "tools": spaces.MultiDiscrete([2, 4], start=[0, 5]),
        }
    )
    seen = {"gear": 1, "lamps": [1, 0], "tools": np.array([0, 8])}

    def observe(self):
        return self.seen


class Modeless(Toy):
    """It says that it draws, but takes no mode."""

    metadata = {"render_fps": 25, "render_modes": ["rgb_array"]}


class Faulty(Toy):
    """Some episodes end as invalid, others by themselves; options end the program."""

    def reset(self, seed=None, options=None):
        if options is not None:
            raise SystemExit(2)
        return super().reset(seed=seed)

    def step(self, action):
        obs, *rest = super().step(action)
        return obs if self.x[1] < 0 else obs + np.float32(np.nan), *rest


class HalfOpen(Toy):
    """One bound is missing, or both; the third is wide."""

    action_space = spaces.Box(
        np.array([2, -np.inf, -4e6]), np.array([np.inf, np.inf, 4e6]), dtype=np.float64
    )

    def step(self, action):
        assert self.action_space.contains(action)
        self.sent = action
        return super().step([0.0])


class GoalDict(Toy):
    """A goal environment."""

    observation_space = spaces.Dict(
        {
            "observation": LINE,
            "achieved_goal": spaces.Box(-9, 9, (1,)),
            "desired_goal": spaces.Tuple([spaces.Box(-9, 9, ()), spaces.Discrete(3)]),
        }
    )

    def observe(self):
        x = super().observe()
        return {"observation": x, "achieved_goal": x[:1], "desired_goal": (x[1], 2)}


class Pictured(Toy):
    """A picture among numbers."""

    observation_space = spaces.Dict({"at": LINE, "eye": spaces.Box(0, 255, (64, 64, 3), np.uint8)})


class NoActions(Toy):
    action_space = spaces.Box(-1, 1, (0,))


class Narrow(Toy):
    """One number where two are announced."""

    def observe(self):
        return self.x[:1]


class Huge(Toy):
    """A number that single precision does not hold."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)

    def step(self, action):
        _, *rest = super().step(action)
        return np.array([0.0, 1e300]), *rest


class Failing(Toy):
    """Ends what calls it, in a way that is asked for, after some steps."""

    def __init__(self, way, after=0):
        super().__init__()
        self.way, self.after, self.steps = way, after, 0
        if way == "constructor":
            raise ValueError("no such robot")

    def reset(self, seed=None, options=None):
        outcome = super().reset(seed=seed)
        if self.way == "reset":
            raise KeyError("arm")
        return outcome[0] if self.way == "bare reset" else outcome

    def step(self, action):
        obs, reward, terminated, truncated, info = super().step(action)
        self.steps += 1
        if self.steps <= self.after:
            return obs, reward, False, truncated, info
        if self.way == "step":
            raise RuntimeError("motor 3 is hot")
        if self.way == "exit":
            raise SystemExit(7)
        if self.way == "four":
            return obs, reward, terminated, info
        reward = {"none": None, "text": "1.0", "vector": np.ones(1)}.get(self.way, reward)
        terminated = "no" if self.way == "ends" else terminated
        return obs, reward, terminated, truncated, info


for made in [*Toy.__subclasses__(), Toy, OwnState, Rate, OpenWhole, normalized]:
    gymnasium.register(f"{made.__name__}-v0", made, max_episode_steps=30, disable_env_checker=True)
gymnasium.register("Endless-v0", Toy)
