"""Processes of a training wait for one another before jax does: it aborts where one is missing.

At the address of the coordinator process 0 listens, the others say who they are, and when all have
come it tells them to go on. Imports no jax.
"""

import re
import socket
import time
from contextlib import ExitStack

from agents.runs.config import ConfigError
from agents.training.parallel.process_config import ProcessConfig

GO, AGAIN_S, REPLY_S = b"go\n", 0.1, 5.0


def barrier(config: ProcessConfig, bind: tuple[str, int], seconds: float) -> None:
    """Return when all processes of `config` have come; process 0 listens at `bind`.

    Raises ConfigError when one does not come within `seconds`, has the number or the count of
    processes wrong, or the port cannot be used.
    """
    deadline = time.monotonic() + seconds
    if config.process_id == 0:
        _await_all(config, bind, deadline)
    else:
        _announce(config, deadline)


def _await_all(config: ProcessConfig, bind: tuple[str, int], deadline: float) -> None:
    try:
        listener = socket.create_server(bind)
    except OSError as error:
        raise ConfigError(
            f"--coordinator {config.coordinator}: process 0 cannot listen there "
            f"({error.strerror}): give a free port of the machine that it runs on"
        ) from error
    present: dict[int, socket.socket] = {}
    with listener, ExitStack() as opened:
        while len(present) < config.processes - 1:
            try:
                listener.settimeout(max(deadline - time.monotonic(), 0.01))
                connection = opened.enter_context(listener.accept()[0])
            except TimeoutError:
                missing = sorted(set(range(1, config.processes)) - present.keys())
                raise ConfigError(
                    f"processes {missing} did not come to --coordinator {config.coordinator} in "
                    f"time: start all {config.processes} with the same command but for --process-id"
                ) from None
            index = _who(connection, config.processes)
            if index in present:
                raise ConfigError(f"two processes have --process-id {index}: give each its own")
            present[index] = connection
        for connection in present.values():
            connection.sendall(GO)
            connection.recv(1)  # closed by the other first: the port is free again at once


def _who(connection: socket.socket, count: int) -> int:
    """The number of the process that has come. Raises ConfigError for one that is out of place."""
    connection.settimeout(REPLY_S)
    try:
        said = connection.recv(32).decode(errors="replace")
    except OSError:
        said = ""
    found = re.fullmatch(r"(\d+) of (\d+)\n", said)
    if found is None or int(found[2]) != count:
        raise ConfigError(
            f"who came to --coordinator is no process of this training, or was started with other "
            f"--processes than {count}: give all the same, and a port of their own"
        )
    return int(found[1])


def _announce(config: ProcessConfig, deadline: float) -> None:
    while True:
        left = deadline - time.monotonic()
        try:
            with socket.create_connection(config.address, max(left, 0.01)) as connection:
                connection.sendall(f"{config.process_id} of {config.processes}\n".encode())
                connection.settimeout(max(left, 0.01))
                if connection.recv(len(GO)) == GO:
                    return
            raise ConfigError(
                f"process 0 at --coordinator {config.coordinator} has ended; its message says why"
            )
        except OSError as error:
            if time.monotonic() + AGAIN_S > deadline:
                raise ConfigError(
                    f"process 0 was not found at --coordinator {config.coordinator} in time "
                    f"({error.strerror or error}): start it there"
                ) from error
        time.sleep(AGAIN_S)
