"""Where a training stands: one record for the host loop, the fused loop and a population."""

from dataclasses import dataclass, replace
from typing import Annotated, Any, NamedTuple

import jax
from msgspec import Meta

from agents.acting.agent import Carry
from agents.training.driver import Cycle
from agents.training.replay import Replay
from wm.tdmpc.learner import TrainState

Array = jax.Array
Count = Annotated[int, Meta(ge=0, lt=2**53)]
ACT, LEARN, INIT = 0, 1, 2  # streams of random keys


def stream(key: Array, number: int, count: int | Array) -> Array:
    """The key of draw `count` of a stream."""
    return jax.random.fold_in(jax.random.fold_in(key, number), count)


class LoopState(NamedTuple):
    """Everything on devices that a cycle changes, but for the simulators."""

    train: TrainState
    carry: Carry
    """Of E simulators."""
    replay: Replay
    metrics: dict[str, Array]
    """Of the latest updates; empty before there were any."""
    plan_info: Any
    """Of the latest decision; None before there was one."""


@dataclass
class Counters:
    """How far a run has come."""

    cycles: Count = 0
    env_steps: Count = 0
    updates: Count = 0
    episodes: Count = 0
    invalid_episodes: Count = 0
    rows: Count = 0
    """Replay rows a simulator, ever."""

    def after(self, cycle: Cycle) -> "Counters":
        """The counters when a cycle is over."""
        return replace(
            self,
            cycles=self.cycles + 1,
            rows=self.rows + 1,
            env_steps=self.env_steps + cycle.decisions,
            episodes=self.episodes + len(cycle.episodes),
            invalid_episodes=self.invalid_episodes + sum(e.invalid for e in cycle.episodes),
        )
