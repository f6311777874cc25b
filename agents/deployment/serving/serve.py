"""`serve`: a trained model as a server, until it is told to stop."""

import asyncio
import signal
import sys
from collections.abc import Callable
from typing import Any

from agents.deployment.controller import Controller
from agents.deployment.realtime.pacing import ask_for_priority, quiet_memory
from agents.deployment.realtime.run import safety_log
from agents.deployment.serving.config import ServeConfig, token_of
from agents.deployment.serving.server import ControllerServer, describe
from agents.runs.compile import counted
from agents.storage.files import StorageError

STATUS_S = 10.0
SWITCH_S = 0.0005
"""Python lets another thread run after so long: a flood of bad messages must not delay a plan."""


def run_server(
    config: ServeConfig,
    status: Callable[[str], None] = lambda line: None,
    ready: Callable[[str, int], None] = lambda host, port: None,
) -> dict[str, Any]:
    """Serve until SIGINT or SIGTERM; counters at the end. `ready` is told the address.

    Raises ConfigError, CheckpointError, StorageError (the address is taken).
    """
    token = token_of(config)
    controller = Controller.load(
        config.path,
        config.mode,
        seed=config.seed,
        planner=config.planner,
        safety=config.safety,
        trust=config.trust,
        digest=config.digest,
    )
    if controller.note:
        status(f"{config.path}: {controller.note}")
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    try:
        with safety_log(status) as flush:
            return asyncio.run(_serve(controller, config, token, status, flush, ready))
    finally:
        sys.setswitchinterval(before)


async def _serve(controller, config, token, status, flush, ready) -> dict[str, Any]:
    server = ControllerServer(controller, config, token)
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    if config.realtime and (refused := ask_for_priority()):
        status(refused)
    with counted() as server.pages.compilations, quiet_memory():
        try:
            host, port = await server.start()
        except OSError as error:
            raise StorageError(
                f"cannot listen on {config.host}:{config.port} ({error.strerror}): is it in use? "
                "Give another --port"
            ) from error
        try:
            guarded = "with a token" if token else "without a token"
            status(f"ws://{host}:{port} serves {controller.contract.env_id}, {guarded}")
            ready(host, port)
            await _watch(server, stop, status, flush)
        finally:
            await server.stop()
    return {
        "address": f"ws://{host}:{port}",
        "programs": server.controller.programs,
        "note": server.controller.note,
        "ticks": server.telemetry.total("ticks"),
        "connections": server.telemetry.total("connections"),
        "bad_frames": server.telemetry.total("bad_frames"),
        "refused": server.telemetry.total("refused"),
        "errors": server.telemetry.total("errors"),
        "compilations": server.pages.compilations.count,
        "stops": server.telemetry.total("stops"),
        "stopped": server.latches.all(),
    }


async def _watch(server: ControllerServer, stop: asyncio.Event, status, flush) -> None:
    """A line when something has changed; every request is in the metrics, none is printed."""
    said = describe(server)
    while not stop.is_set():
        try:
            async with asyncio.timeout(STATUS_S):
                await stop.wait()
        except TimeoutError:
            flush()
            if (line := describe(server)) != said:
                status(line)
                said = line
