"""Many clients, one plan: the decisions of those that ask at the same time are computed together.

That is one call of a program over a fixed number of slots. Sizes are powers of two, each compiled
at the start, so that one client alone does not pay for the rest.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable

import jax
import numpy as np

from agents.deployment.anytime import Decision
from agents.deployment.controller import Controller
from agents.deployment.decision import Decide, Inputs
from agents.deployment.policy import Policy
from agents.deployment.serving.stops import EStops
from agents.runs.compile import cpu_options

ABSENT_PERIODS = 2.0
"""A client that has not asked for so long is not waited for."""


class Batcher:
    """Gathers decisions that are asked for within `window` seconds and computes them at once.

    `sizes` counts how many clients were planned for together.
    """

    def __init__(
        self,
        policy: Policy,
        max_batch: int,
        window: float,
        example: Inputs,
        expected: Callable[[], int],
    ):
        """Compile every size for inputs like `example`.

        `expected()` says how many clients are worth waiting for.
        """
        self.sizes: Counter[int] = Counter()
        self._policy, self._window, self._expected = policy, window, expected
        powers = (1 << i for i in range(max_batch.bit_length()))
        self._slots = [size for size in powers if size < max_batch] + [max_batch]
        program = _for_many(policy.decide, policy.exported)
        self._program = jax.jit(program, compiler_options=cpu_options())
        for size in self._slots:
            for _ in range(2):
                self._compute([example] * size)
        self._waiting: list[tuple[Inputs, asyncio.Future[Decision]]] = []
        self._asked, self._working = asyncio.Event(), asyncio.Lock()

    async def decide(self, inputs: Inputs, *, alone: bool) -> Decision:
        """A decision, computed in another thread; in this one where there is nobody to wait for."""
        if alone:  # quicker than a change of threads
            self.sizes[1] += 1
            return self._compute([inputs])[0]
        answer: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        self._waiting.append((inputs, answer))
        self._asked.set()
        async with self._working:  # whoever is first computes for those who came meanwhile
            if not answer.done():
                await self._work()
        return answer.result()

    async def _work(self) -> None:
        """Compute what is asked for, once nobody else is expected or the window is over."""
        most = self._slots[-1]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._window):
                while len(self._waiting) < min(most, self._expected()):
                    self._asked.clear()
                    await self._asked.wait()
        batch, self._waiting = self._waiting[:most], self._waiting[most:]
        self.sizes[len(batch)] += 1
        try:
            made = await asyncio.to_thread(self._compute, [inputs for inputs, _ in batch])
        except Exception as error:  # told to those it concerns; others are served on
            for _, answer in batch:
                answer.set_exception(error)
        else:
            for (_, answer), one in zip(batch, made, strict=True):
                answer.set_result(one)

    def _compute(self, batch: list[Inputs]) -> list[Decision]:
        """One call for all of them, filled up to the next size with the first."""
        size = next(slots for slots in self._slots if slots >= len(batch))
        rows = batch + [batch[0]] * (size - len(batch))
        inputs = jax.tree.map(lambda *leaves: np.stack(leaves), *rows)
        answers = jax.tree.map(np.asarray, self._program(self._policy.params, *inputs))
        each = [jax.tree.map(lambda leaf, i=i: leaf[i], answers) for i in range(len(batch))]
        return [self._policy.decision(*answer) for answer in each]


def _for_many(decide: Decide, exported: bool) -> Decide:
    """A decision for each row of all but the parameters.

    Exported programs are finished and cannot be vmapped: they run for one row after the other.
    """
    if not exported:
        return jax.vmap(decide, (None, 0, 0, 0, 0))
    return lambda params, *rows: jax.lax.map(lambda row: decide(params, *row), rows)


class Client:
    """One connection and its controller; `owner` says that it may re-arm, as the name is its own.

    `asked` is when it last wanted a decision, on the monotonic clock.
    """

    def __init__(self, controller: Controller, name: str, stops: EStops):
        self.controller, self.name, self.owner = controller, name, False
        self.asked, self._stops = -np.inf, stops

    @property
    def stopped(self) -> bool:
        """Whether its guard is."""
        return self.controller.guard.state == "stopped"

    def obey(self) -> None:
        """Be stopped as long as the client is, whichever of its connections the reason was."""
        if reason := self._stops.reason(self.name):
            self.controller.guard.stop(reason)
        elif self.stopped:
            self.controller.rearm()


def present(clients: list[Client], period: float) -> int:
    """Clients that ask regularly, one that asks right now included."""
    since = time.monotonic() - ABSENT_PERIODS * period
    return max(1, sum(client.asked > since for client in clients))
