"""Many clients, one plan: sessions with a guard each, whose decisions are computed together.

Every client has its own memory, guard and surprise monitor, in a thread of its own while it is
served; the computing of those that come at the same time is one call of a program over a fixed
number of slots. Sizes are powers of two, each compiled at the start, so that one client alone
does not pay for the rest.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import NamedTuple

import jax
import numpy as np

from agents.deployment.anytime import PRIOR, Budget, Made
from agents.deployment.controller import Controller
from agents.deployment.decision import Decide, Memory
from agents.deployment.guard.safety import Guard
from agents.deployment.guard.surprise import Monitor
from agents.deployment.serving.stops import Latches
from agents.runs.compile import cpu_options

ABSENT_PERIODS = 2.0
"""A client that has not asked for so long is not waited for."""


class Inputs(NamedTuple):
    """What one decision starts from."""

    memory: Memory
    obs: np.ndarray
    action: np.ndarray
    elapsed: int


class Batcher:
    """Gathers decisions that are asked for within `window` seconds and computes them at once.

    Attributes:
        sizes: how often each number of clients was planned for together.
    """

    def __init__(self, controller: Controller, most: int, window: float):
        """Computes `controller.decide` for at most `most` at once."""
        self.sizes: Counter[int] = Counter()
        self._params, self._window = controller._params, window
        self._buckets = [1 << i for i in range(most.bit_length()) if 1 << i < most] + [most]
        program = _for_many(controller.decide, controller.programs)
        self._program = jax.jit(program, compiler_options=cpu_options())
        self._waiting: deque[tuple[Inputs, Future[Made]]] = deque()
        self._expected: Callable[[], int] = lambda: 1
        self._changed = threading.Condition()
        self._open = True
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)

    def start(self, example: Inputs, expected: Callable[[], int]) -> None:
        """Compile every size, then compute in a thread of its own.

        `expected()` says how many clients are worth waiting for.
        """
        for size in self._buckets:
            for _ in range(2):
                self._compute([example] * size)
        self._expected = expected
        self._thread.start()

    def submit(self, inputs: Inputs) -> Made:
        """A decision; waits for it. Raises RuntimeError after `close`."""
        answer: Future[Made] = Future()
        with self._changed:
            if not self._open:
                raise RuntimeError("the server is closing")
            self._waiting.append((inputs, answer))
            self._changed.notify()
        return answer.result()

    def at_once(self, inputs: Inputs) -> Made:
        """A decision for one that comes alone, computed in the caller's thread."""
        self.sizes[1] += 1
        return self._compute([inputs])[0]

    def close(self) -> None:
        """Finish what is under way and end the thread."""
        with self._changed:
            self._open = False
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def _work(self) -> None:
        while batch := self._gathered():
            try:
                made = self._compute([inputs for inputs, _ in batch])
            except Exception as error:  # told to those it concerns; others are served on
                for _, answer in batch:
                    answer.set_exception(error)
            else:
                self.sizes[len(batch)] += 1
                for (_, answer), one in zip(batch, made, strict=True):
                    answer.set_result(one)

    def _gathered(self) -> list[tuple[Inputs, Future[Made]]]:
        """The next decisions; empty at the end."""
        most = self._buckets[-1]
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or not self._open)
            if self._waiting and self._open:
                full = lambda: len(self._waiting) >= min(most, self._expected())  # noqa: E731
                self._changed.wait_for(lambda: full() or not self._open, self._window)
            return [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]

    def _compute(self, batch: list[Inputs]) -> list[Made]:
        """One call for all of them, filled up to the next size with the first."""
        size = next(bucket for bucket in self._buckets if bucket >= len(batch))
        rows = batch + [batch[0]] * (size - len(batch))
        memory = jax.tree.map(lambda *leaves: np.stack(leaves), *[row.memory for row in rows])
        obs, action = np.stack([row.obs for row in rows]), np.stack([row.action for row in rows])
        elapsed = np.array([row.elapsed for row in rows], np.int32)
        made, memory = self._program(self._params, memory, obs, action, elapsed)
        actions, reports = np.asarray(made.action), np.asarray(made.report)
        memory = jax.tree.map(np.asarray, memory)
        return [
            Made(
                actions[i],
                reports[i],
                jax.tree.map(lambda leaf, i=i: leaf[i], memory),
                "plan",
                int(reports[i][-1]) or PRIOR,
            )
            for i in range(len(batch))
        ]


def _for_many(decide: Decide, exported: bool) -> Decide:
    """A decision for each row of all but the parameters.

    Exported programs are finished and cannot be vmapped: they run for one row after the other.
    """
    if not exported:
        return jax.vmap(decide, (None, 0, 0, 0, 0))

    def each(params, *rows):
        return jax.lax.map(lambda row: decide(params, *row), rows)

    return each


class Session(Controller):
    """A controller whose computing is done together with others'.

    Takes everything that is compiled from a warm controller; guard, memory and counters are new.

    Attributes:
        client: whose it is.
        own: whether the client's name is its own, so that it may re-arm.
        direct: it computes in the thread that serves it; there is nobody to wait for.
    """

    def __init__(
        self, template: Controller, batcher: Batcher, seed: int, client: str, latches: Latches
    ):
        vars(self).update(vars(template))
        self.guard = Guard(template.contract, template.guard.config)
        self.monitor = Monitor(template.contract, template.guard.config)
        self.counters, self.last = Counter(), None
        self._batcher, self.seed = batcher, seed
        self.client, self.own, self.direct = client, False, False
        self._latches = latches
        self.asked = -np.inf
        self.reset()

    def _compute(self, obs: np.ndarray, budget: Budget) -> Made:
        self.asked = time.monotonic()
        inputs = Inputs(self._memory, obs, self.guard.last, self._elapsed)
        decide = self._batcher.at_once if self.direct else self._batcher.submit
        made = decide(inputs)._replace(source=self.mode)
        self.obey()
        return made

    def obey(self) -> None:
        """Be stopped as long as the client is, whichever of its connections the reason was."""
        if reason := self._latches.reason(self.client):
            self.guard.stop(reason)
        elif self.guard.state == "stopped":
            self.rearm()


def present(sessions: list[Session], period: float) -> int:
    """Clients that ask regularly, one that asks right now included."""
    since = time.monotonic() - ABSENT_PERIODS * period
    return max(1, sum(session.asked > since for session in list(sessions)))


def example(controller: Controller) -> Inputs:
    """Inputs of the right shapes, to compile with."""
    obs = np.zeros(controller.contract.obs.shape, np.float32)
    return Inputs(jax.tree.map(np.asarray, controller._memory), obs, controller.guard.zero, 0)
