"""A controller for others: websockets and msgpack, in the words of openpi's client.

On connecting, a client gets the metadata. Each of its messages is a map with "obs" (and "reset",
"sequence", "age_s", "rearm", "robot"); each answer a map with "actions" [1, A] and what the guard
did. What cannot be understood is answered by a line of text, as openpi's server reports errors, and
so is another robot than the contract's, whose side is then sent away. A client has a controller
and a guard of its own; its faults are nobody else's. A stop stays the client's until it is
re-armed, however often it connects (`agents.deployment.serving.stops`).
"""

import asyncio
import logging
import time
from dataclasses import asdict
from typing import Any

import numpy as np
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from agents.deployment.contract import Contract
from agents.deployment.controller import Controller, Tick
from agents.deployment.realtime.pacing import Resident
from agents.deployment.serving.batching import Batcher, Client, present
from agents.deployment.serving.config import ServeConfig
from agents.deployment.serving.http import HttpEndpoints
from agents.deployment.serving.metrics import Metrics
from agents.deployment.serving.stops import EStops, client_of, query
from agents.deployment.serving.wire import Request, WireError, pack, parse_request
from agents.runs.compile import Compilations

PROTOCOL = "latentmpc/1"
REARM = (
    "only an operator re-arms here (GET /rearm?client=NAME, with the token), or, where there is no "
    "token, who first claimed the name or shows its key (?client=NAME&key=KEY)"
)
POLICY_VIOLATION, INTERNAL_ERROR, TRY_LATER = 1008, 1011, 1013
log = logging.getLogger("latentmpc.safety")
quiet = logging.getLogger("latentmpc.websockets")
quiet.addHandler(logging.NullHandler())
quiet.propagate = False


class RobotError(ValueError):
    """A robot that is not the contract's; one line for its side, which is then sent away."""


class ControllerServer:
    """Serves one controller to several clients. Build, then `await start()`, `stop()`.

    Attributes:
        compilations: counted since the start, by who runs the server.
    """

    def __init__(self, controller: Controller, config: ServeConfig, token: str = ""):
        self.policy, self.config, self._token = controller.policy, config, token
        self._safety = controller.guard.config
        self.metrics, self.stops, self.compilations = Metrics(), EStops(), Compilations()
        self.clients: list[Client] = []
        example, period = self.policy.example(controller.guard.zero), controller.contract.period
        self.policy.prior_action(example.obs)  # the rest of the policy is the batcher's
        window = config.window_ms / 1e3 or 0.1 * period
        self.batcher = Batcher(
            self.policy, config.clients, window, example, lambda: present(self.clients, period)
        )
        self._memory = Resident()
        self._show_gauges()
        self.http = HttpEndpoints(config, token, self.clients, self.metrics, self.stops)
        self._server: Server | None = None

    def _show_gauges(self) -> None:
        def megabytes() -> float:
            self._memory.sample(time.monotonic())
            return self._memory.megabytes

        sizes, clients, gauge = self.batcher.sizes, self.clients, self.metrics.gauge
        gauge("clients", lambda: len(clients))
        gauge("compilations", lambda: self.compilations.count)
        gauge("batches", lambda: sum(sizes.values()))
        gauge("batched_ticks", lambda: sum(size * n for size, n in sizes.items()))
        gauge("stopped_clients", lambda: sum(client.stopped for client in clients))
        gauge("latched_stops", lambda: len(self.stops.reasons()))
        gauge("resident_megabytes", megabytes)

    async def start(self) -> tuple[str, int]:
        """Listen; the address. Raises OSError when it is taken."""
        self._server = await serve(
            self._serve_client,
            self.config.host,
            self.config.port,
            process_request=self.http.answer,
            compression=None,
            max_size=self.config.max_bytes,
            max_queue=4,
            open_timeout=5,
            close_timeout=1,
            ping_interval=10,
            ping_timeout=10,
            server_header=None,
            logger=quiet,
        )
        return self._server.sockets[0].getsockname()[:2]

    async def stop(self) -> None:
        """Send everyone away and stop computing."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve_client(self, connection: ServerConnection) -> None:
        """Serve one client until it leaves."""
        if len(self.clients) >= self.config.clients:  # another came first
            await connection.close(TRY_LATER, "no slot is free")
            return
        assert connection.request is not None
        address = str((connection.remote_address or "?")[0])
        client = self.admit(connection.request.path, address)
        self.metrics.count("connections")
        try:
            await connection.send(pack(self.metadata(client)))
            await self._converse(connection, client)
        except ConnectionClosed:
            pass
        except Exception as error:  # ours; this client is sent away, the others are served on
            self.metrics.count("errors")
            log.error("a client was sent away: %s: %s", type(error).__name__, error)
            await connection.close(INTERNAL_ERROR, "internal error")
        finally:
            self.clients.remove(client)
            self.stops.leave(client.name)

    def admit(self, path: str, address: str) -> Client:
        """A client for who asks for `path`; it may be stopped already."""
        name = client_of(path, address)
        controller = Controller(self.policy, seed=self.config.seed, safety=self._safety)
        client = Client(controller, name, self.stops)
        client.owner = self.stops.enter(name, query(path, "key")) and not self._token
        client.obey()
        self.clients.append(client)
        return client

    async def _converse(self, connection: ServerConnection, client: Client) -> None:
        bad = 0
        while bad < self.config.max_bad:
            try:
                async with asyncio.timeout(self.config.idle_s):
                    message = await connection.recv()
            except TimeoutError:
                await connection.close(POLICY_VIOLATION, "silent for too long")
                return
            begin = time.monotonic()
            try:
                request = understood(client, message)
                refuse_robot(self.policy.contract, request)
            except RobotError as error:
                self.metrics.count("refused", "robot")
                await connection.send(f"error: {error}")
                await connection.close(POLICY_VIOLATION, "another robot")
                return
            except WireError as error:
                bad += 1
                self.metrics.count("bad_frames")
                await connection.send(f"error: {error}")
                continue
            bad = 0
            await connection.send(await self.answer(client, request))
            self.metrics.time("request", 1e3 * (time.monotonic() - begin))
        await connection.close(POLICY_VIOLATION, f"{bad} bad messages in a row")

    async def answer(self, client: Client, request: Request) -> bytes:
        """One tick of one client."""
        controller, guard = client.controller, client.controller.guard
        if request.rearm:
            if self.stops.rearm(client.name):
                self.metrics.count("rearms", "client")
            controller.rearm()
        client.obey()
        if request.reset:
            controller.reset(self.config.seed)
        if request.obs is None:
            return pack({"reset": request.reset, "state": guard.state})
        now, made = time.monotonic(), None
        try:
            begun = controller.begin(request.obs, now - request.age_s, request.sequence, now=now)
            if begun.inputs is not None:
                client.asked = now
                alone = self.policy.mode == "prior" and len(self.clients) == 1
                made = await self.batcher.decide(begun.inputs, alone=alone)
                client.obey()  # another connection may have stopped it meanwhile
            action = controller.finish(begun, made)
        finally:  # a stop is the client's, on all its connections, however often it connects
            if client.stopped and self.stops.stop(client.name, guard.stop_reason):
                self.metrics.count("stops")
                log.error("client %s is stopped until it is re-armed", client.name)
        tick = controller.last
        assert tick is not None
        self._count(tick)
        return pack(
            {
                "actions": action[None],
                "state": tick.state,
                "source": tick.source,
                "faults": list(tick.faults),
                "interventions": list(tick.interventions),
                "detail": guard.why,
                "surprise": tick.surprise,
                "tick": tick.number,
                "server_timing": {"infer_ms": tick.compute_ms},
            }
        )

    def _count(self, tick: Tick) -> None:
        self.metrics.count("ticks", tick.source)
        for kind in tick.faults:
            self.metrics.count("faults", kind)
        for kind in tick.interventions:
            self.metrics.count("interventions", kind)
        self.metrics.time("compute", tick.compute_ms)

    def metadata(self, client: Client) -> dict[str, Any]:
        """The first message to a client, in plain values."""
        contract, guard = self.policy.contract, client.controller.guard
        return {
            "protocol": PROTOCOL,
            "env_id": contract.env_id,
            "obs": {"shape": list(contract.obs.shape), "dtype": contract.obs.dtype},
            "obs_names": [[name, size] for name, size in contract.obs.names],
            "action_low": np.asarray(contract.action.low, np.float32),
            "action_high": np.asarray(contract.action.high, np.float32),
            "action_safe": guard.safe,
            "client": client.name,
            "key": self.stops.key(client.name) if client.owner else "",
            "state": guard.state,
            "period_s": contract.period,
            "robot": asdict(contract.robot) if contract.robot else None,
            "mode": self.policy.mode,
            "programs": self.policy.exported,
            "params_digest": contract.params_digest,
        }


def understood(client: Client, message: bytes | str) -> Request:
    """A client's message. Raises WireError: it says nothing, or asks for what is not its own."""
    if isinstance(message, str):
        raise WireError("expected a binary message in msgpack, got text")
    request = parse_request(message)
    if request.rearm and not client.owner:
        raise WireError(REARM)
    return request


def refuse_robot(contract: Contract, request: Request) -> None:
    """Raise RobotError for a client whose robot is not the contract's."""
    if request.robot and (problem := contract.mismatch(request.robot)):
        raise RobotError(f"this controller is for another robot: {problem}")


def describe(server: ControllerServer) -> str:
    """One line of status."""
    stops, count = server.stops, server.metrics.total
    keys = ", ".join(f"{client} (key {stops.key(client)})" for client in stops.reasons())
    return (
        f"{len(server.clients)} clients, {count('ticks')} ticks, {count('bad_frames')} bad frames, "
        f"{count('refused')} refused" + (keys and f"; stopped: {keys}")
    )
