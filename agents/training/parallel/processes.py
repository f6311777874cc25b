"""The processes of one training, and how they agree; as a rule there is only one.

All run the same program over the devices of all. Whoever waits for a sum of gradients that another
never sends would wait for ever, so no process stops or fails alone: what may fail is done in a
`guard`, after which all go on or none does. The first alone writes.
"""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from agents.runs.config import ConfigError
from agents.training.parallel.barrier import barrier
from agents.training.parallel.process_config import ProcessConfig

HEADER = 8  # bytes that say how long a message is
CONNECT_S = 120  # in which all must have come
LEAVE_S = 20  # to wait, at the end, for one that does not take its leave
LOOPBACK = ("localhost", "127.0.0.1")
Arrays = dict[str, np.ndarray]


class PeerError(RuntimeError):
    """Another process of the training failed, and so this one stops; shown as one line."""

    def __init__(self, index: int, message: str, exit_code: int) -> None:
        super().__init__(f"process {index} failed: {message}")
        self.exit_code = exit_code


class PeerLostError(RuntimeError):
    """Another process of the training is gone without a word; shown as one line."""

    exit_code = 1


class Processes:
    """This process among `count`. Each method is called by all of them, in the same order."""

    def __init__(self, index: int = 0, count: int = 1) -> None:
        self.index, self.count = index, count
        self._room: dict[str, int] = {}

    @property
    def first(self) -> bool:
        """Whether this is the process that writes, logs and evaluates."""
        return self.index == 0

    def exchange(self, kind: str, message: bytes) -> list[bytes]:
        """The messages of all processes, in their order.

        One collective call, of a size that the first messages of a `kind` settle.
        """
        if self.count == 1:
            return [message]
        while True:
            room = self._room.get(kind, 0)
            sent = np.zeros(HEADER + room, np.uint8)
            sent[:HEADER] = np.frombuffer(len(message).to_bytes(HEADER, "little"), np.uint8)
            part = message[:room]
            sent[HEADER : HEADER + len(part)] = np.frombuffer(part, np.uint8)
            rows = [row.tobytes() for row in self._allgather(sent)]
            sizes = [int.from_bytes(row[:HEADER], "little") for row in rows]
            if max(sizes) <= room:
                return [row[HEADER : HEADER + n] for row, n in zip(rows, sizes, strict=True)]
            self._room[kind] = 2 ** math.ceil(math.log2(max(sizes)))

    def _allgather(self, sent: np.ndarray) -> np.ndarray:
        from jax.experimental.multihost_utils import process_allgather

        try:
            return process_allgather(sent)
        except Exception as error:  # gloo raises ValueError, others JaxRuntimeError
            raise PeerLostError(
                "another process of the training is gone: its messages may say why; the last "
                "checkpoint is intact, and the same commands resume"
            ) from error

    def first_said(self, word: str) -> str:
        """The first word that is not empty among those of all processes."""
        words = self.exchange("word", word.encode())
        return next((word.decode() for word in words if word), "")

    def check_same(self, text: str, message: str) -> None:
        """Raise ConfigError with `message`, in all, unless all give the same text."""
        if len(set(self.exchange("same", text.encode()))) > 1:
            raise ConfigError(message)

    @contextmanager
    def guard(self) -> Iterator[None]:
        """A block without any exchange: if it fails in one process, no other goes on.

        The others raise PeerError with its message and its exit code.
        """
        failure = None
        try:
            yield
        except Exception as error:
            failure = error
        self._settle("guard", b"", failure)

    def gather(self, kind: str, make: Callable[[], Arrays]) -> list[Arrays]:
        """The results of `make` in all processes, in their order; all raise if it fails in one."""
        if self.count == 1:
            return [make()]
        from safetensors.numpy import load, save

        message, failure = b"", None
        try:
            message = save({k: np.array(v, order="C") for k, v in make().items()})
        except Exception as error:
            failure = error
        return [load(data) for data in self._settle(kind, message, failure)]

    def _settle(self, kind: str, message: bytes, failure: Exception | None) -> list[bytes]:
        """Exchange messages or failures. Raises the own failure first, else that of another."""
        if failure is not None:
            about = [str(failure) or type(failure).__name__, getattr(failure, "exit_code", 1)]
            message = b"!" + json.dumps(about).encode()
        else:
            message = b"=" + message
        messages = self.exchange(kind, message)
        if failure is not None:
            raise failure
        for index, other in enumerate(messages):
            if other[:1] == b"!":
                raise PeerError(index, *json.loads(other[1:]))
        return [other[1:] for other in messages]


ALONE = Processes()


@contextmanager
def joined(config: ProcessConfig) -> Iterator[Processes]:
    """Wait for the other processes, before jax has looked for devices; part from them at the end.

    Raises ConfigError when they do not come, or have other numbers of devices.
    """
    if config.processes == 1:
        yield ALONE
        return
    import jax

    jax.config.update("jax_enable_preemption_service", False)  # SIGTERM is the training's to hear
    host, port = config.address
    bind = "127.0.0.1" if host in LOOPBACK else "0.0.0.0"  # the loopback is not every interface
    barrier(config, (bind, port), CONNECT_S)
    jax.distributed.initialize(
        config.coordinator,
        config.processes,
        config.process_id,
        cluster_detection_method="deactivate",
        initialization_timeout=CONNECT_S,
        shutdown_timeout_seconds=LEAVE_S,
        coordinator_bind_address=f"{bind}:{port}",
    )
    try:
        group = Processes(config.process_id, config.processes)
        here = str(jax.local_device_count())
        group.check_same(here, f"the processes have different numbers of devices (here {here})")
        yield group
    except Exception as error:
        # What has an exit code all have agreed on, and take their leave together. Otherwise jax
        # would wait for those who do not, and abort before the error is told.
        if hasattr(error, "exit_code") and not isinstance(error, PeerLostError):
            jax.distributed.shutdown()
        raise
    jax.distributed.shutdown()
