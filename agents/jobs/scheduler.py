"""The queue in front of an executor: hand out tasks, try again what was killed. Imports no jax."""

from collections import Counter, deque
from collections.abc import Generator, Mapping

from agents.jobs.worker import KILLED, Answer, execute


class Executor:
    """A way of running tasks, at most `slots` at once, in no promised order."""

    slots = 1

    def start(self, key: str, task: str) -> None:
        """Begin a task; there are fewer than `slots` under way."""
        raise NotImplementedError

    def wait(self) -> list[tuple[str, Answer]]:
        """Answers that have come in, possibly none, after a moment at most."""
        raise NotImplementedError

    def abandon(self) -> None:
        """Stop every task under way, promptly."""

    def close(self) -> None:
        """Leave nothing running."""


class InProcess(Executor):
    """Runs each task in this very process: for tests and debugging."""

    def start(self, key: str, task: str) -> None:
        """Run it."""
        self._answers = [(key, execute(task))]

    def wait(self) -> list[tuple[str, Answer]]:
        """Its answer."""
        return self._answers


def answers(
    executor: Executor, tasks: Mapping[str, str], retries: int
) -> Generator[tuple[str, Answer], None, None]:
    """The final answer of every task (by key), as they come.

    A killed task goes to the end of the queue, `retries` times at most, so that one that kills
    its process every time holds up no other. Leaves nothing under way, however it ends.
    """
    queue, flying, kills = deque(tasks), set(), Counter()
    try:
        while queue or flying:
            while queue and len(flying) < executor.slots:
                key = queue.popleft()
                flying.add(key)
                executor.start(key, tasks[key])
            for key, answer in executor.wait():
                flying.discard(key)
                kills[key] += answer.status == KILLED
                if answer.status == KILLED and kills[key] <= retries:
                    queue.append(key)
                else:
                    yield key, _final(answer, kills[key])
    finally:
        if flying:
            executor.abandon()


def _final(answer: Answer, kills: int) -> Answer:
    """An answer as it is kept; a killed one says how often it was tried."""
    if answer.status != KILLED:
        return answer
    times = f", {kills} times in a row" if kills > 1 else ""
    return Answer(KILLED, f"its worker process {answer.text}{times}")
