"""`serve`: a trained model as a server, until it is told to stop."""

import asyncio
import signal
import sys
from collections.abc import Callable
from typing import Any

from agents.deployment.realtime.pacing import ask_for_priority, quiet_memory
from agents.deployment.realtime.run import load_controller, safety_log
from agents.deployment.serving.config import ServeConfig, token_of
from agents.deployment.serving.server import ControllerServer, describe
from agents.runs.compile import counted
from agents.storage.files import StorageError

STATUS_S = 10.0
SWITCH_S = 0.0005
"""Python lets another thread run after so long: a flood of bad messages must not delay a plan."""
COUNTED = ("ticks", "connections", "bad_frames", "refused", "errors", "stops")
Log = Callable[[str], None]


def run_server(
    config: ServeConfig,
    log: Log = lambda line: None,
    ready: Callable[[str, int], None] = lambda host, port: None,
) -> dict[str, Any]:
    """Serve until SIGINT or SIGTERM; counters at the end. `ready` is told the address.

    Raises ConfigError, CheckpointError, StorageError (the address is taken).
    """
    token = token_of(config)
    controller = load_controller(config, log)
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    try:
        with safety_log(log) as log:
            return asyncio.run(_serve(controller, config, token, log, ready))
    finally:
        sys.setswitchinterval(before)


async def _serve(controller, config, token, log, ready) -> dict[str, Any]:
    server = ControllerServer(controller, config, token)
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    if config.realtime and (refused := ask_for_priority()):
        log(refused)
    with counted() as server.compilations, quiet_memory():
        try:
            host, port = await server.start()
        except OSError as error:
            raise StorageError(
                f"cannot listen on {config.host}:{config.port} ({error.strerror}): is it in use? "
                "Give another --port"
            ) from error
        try:
            guarded = "with a token" if token else "without a token"
            log(f"ws://{host}:{port} serves {controller.contract.env_id}, {guarded}")
            ready(host, port)
            await _watch(server, stop, log)
        finally:
            await server.stop()
    return {
        "address": f"ws://{host}:{port}",
        "programs": server.policy.exported,
        "note": server.policy.note,
        **{name: server.metrics.total(name) for name in COUNTED},
        "compilations": server.compilations.count,
        "stopped": server.stops.reasons(),
    }


async def _watch(server: ControllerServer, stop: asyncio.Event, log: Log) -> None:
    """A line when something has changed; every request is in the metrics, none is printed."""
    said = describe(server)
    while not stop.is_set():
        try:
            async with asyncio.timeout(STATUS_S):
                await stop.wait()
        except TimeoutError:
            line = describe(server)
            log(line if line != said else "")
            said = line
