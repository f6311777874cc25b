"""A controller for others: websockets and msgpack, in the words of openpi's client.

On connecting, a client gets the metadata. Each of its messages is a map with "obs" (and "reset",
"sequence", "age_s", "rearm"); each answer a map with "actions" [1, A] and what the guard did. What
cannot be understood is answered by a line of text, as openpi's server reports errors. A client
has a controller and a guard of its own; its faults are nobody else's. A stop stays the client's
until it is re-armed, however often it connects (`agents.deployment.serving.stops`).
"""

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from agents.deployment.controller import Controller
from agents.deployment.serving.batching import Batcher, Session, example, present
from agents.deployment.serving.config import ServeConfig
from agents.deployment.serving.http import Pages
from agents.deployment.serving.metrics import Telemetry
from agents.deployment.serving.stops import Latches, client_of, query
from agents.deployment.serving.wire import Request, WireError, pack, parse_request

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


class ControllerServer:
    """Serves one controller to several clients. Build, then `await start()`, `stop()`."""

    def __init__(self, controller: Controller, config: ServeConfig, token: str = ""):
        self.controller, self.config, self._token = controller, config, token
        self.telemetry, self.latches = Telemetry(), Latches()
        self.sessions: list[Session] = []
        period = controller.contract.period
        window = config.window_ms / 1e3 or 0.1 * period
        # Plans are made by the batcher; of the controller itself only the reflex is used.
        np.asarray(controller._reflex(controller._params, example(controller).obs))
        controller._warm = True
        self._batcher = Batcher(controller, config.clients, window)
        self._batcher.start(example(controller), lambda: present(self.sessions, period))
        inside = self.sessions, config, token, self.telemetry, self.latches
        self.pages = Pages(*inside, self._batcher)
        self._threads = ThreadPoolExecutor(config.clients, "session")
        self._server: Server | None = None

    async def start(self) -> tuple[str, int]:
        """Listen; the address. Raises OSError when it is taken."""
        self._server = await serve(
            self._client,
            self.config.host,
            self.config.port,
            process_request=self.pages.answer,
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
        self._batcher.close()
        self._threads.shutdown()
        self.pages.close()

    async def _client(self, connection: ServerConnection) -> None:
        """Serve one client until it leaves."""
        if len(self.sessions) >= self.config.clients:  # another came first
            await connection.close(TRY_LATER, "no slot is free")
            return
        assert connection.request is not None
        address = str((connection.remote_address or "?")[0])
        session = self.admit(connection.request.path, address)
        self.telemetry.count("connections")
        try:
            await connection.send(pack(self.metadata(session)))
            await self._converse(connection, session)
        except ConnectionClosed:
            pass
        except Exception as error:  # ours; this client is sent away, the others are served on
            self.telemetry.count("errors")
            log.error("a client was sent away: %s: %s", type(error).__name__, error)
            await connection.close(INTERNAL_ERROR, "internal error")
        finally:
            self.sessions.remove(session)
            self.latches.leave(session.client)

    def admit(self, path: str, address: str) -> Session:
        """A session for who asks for `path`; its client may be stopped already."""
        client = client_of(path, address)
        session = Session(self.controller, self._batcher, self.config.seed, client, self.latches)
        session.own = self.latches.enter(client, query(path, "key")) and not self._token
        session.obey()
        self.sessions.append(session)
        return session

    async def _converse(self, connection: ServerConnection, session: Session) -> None:
        loop, bad = asyncio.get_running_loop(), 0
        while bad < self.config.max_bad:
            try:
                async with asyncio.timeout(self.config.idle_s):
                    message = await connection.recv()
            except TimeoutError:
                await connection.close(POLICY_VIOLATION, "silent for too long")
                return
            begin = time.monotonic()
            try:
                request = understood(session, message)
            except WireError as error:
                bad += 1
                self.telemetry.count("bad_frames")
                await connection.send(f"error: {error}")
                continue
            bad = 0
            session.direct = self.controller.mode == "prior" and len(self.sessions) == 1
            if session.direct:  # quicker than a change of threads
                answer = self.answer(session, request)
            else:
                answer = await loop.run_in_executor(self._threads, self.answer, session, request)
            await connection.send(answer)
            self.telemetry.time("request", 1e3 * (time.monotonic() - begin))
        await connection.close(POLICY_VIOLATION, f"{bad} bad messages in a row")

    def _keep(self, session: Session) -> None:
        """A stop is the client's, on all its connections, however often it connects."""
        guard = session.guard
        if guard.state == "stopped" and self.latches.latch(session.client, guard.stop_reason):
            self.telemetry.count("stops")
            log.error("client %s is stopped until it is re-armed", session.client)

    def answer(self, session: Session, request: Request) -> bytes:
        """One tick of one client, in its thread."""
        if request.rearm:
            if self.latches.release(session.client):
                self.telemetry.count("rearms", "by", "client")
            session.rearm()
        session.obey()
        if request.reset:
            session.reset(self.config.seed)
        if request.obs is None:
            return pack({"reset": request.reset, "state": session.guard.state})
        now = time.monotonic()
        try:
            action = session.act(request.obs, now - request.age_s, request.sequence, now=now)
        finally:
            self._keep(session)
        tick = session.last
        assert tick is not None
        self._account(tick)
        return pack(
            {
                "actions": action[None],
                "state": tick.state,
                "source": tick.source,
                "faults": list(tick.faults),
                "interventions": list(tick.interventions),
                "detail": session.guard.why,
                "surprise": tick.surprise,
                "tick": tick.number,
                "server_timing": {"infer_ms": tick.compute_ms},
            }
        )

    def _account(self, tick) -> None:
        self.telemetry.count("ticks", "source", tick.source)
        for kind in tick.faults:
            self.telemetry.count("faults", "kind", kind)
        for kind in tick.interventions:
            self.telemetry.count("interventions", "kind", kind)
        self.telemetry.time("compute", tick.compute_ms)

    def metadata(self, session: Session) -> dict[str, Any]:
        """What a client has to know, in plain values."""
        contract = self.controller.contract
        return {
            "protocol": PROTOCOL,
            "env_id": contract.env_id,
            "obs": {"shape": list(contract.obs.shape), "dtype": contract.obs.dtype},
            "obs_names": [[name, size] for name, size in contract.obs.names],
            "action_low": np.asarray(contract.action.low, np.float32),
            "action_high": np.asarray(contract.action.high, np.float32),
            "action_safe": session.guard.safe,
            "client": session.client,
            "key": self.latches.key(session.client) if session.own else "",
            "state": session.guard.state,
            "period_s": contract.period,
            "mode": self.controller.mode,
            "programs": self.controller.programs,
            "params_digest": contract.params_digest,
        }


def understood(session: Session, message: bytes | str) -> Request:
    """A client's message. Raises WireError: it says nothing, or asks for what is not its own."""
    if isinstance(message, str):
        raise WireError("expected a binary message in msgpack, got text")
    request = parse_request(message)
    if request.rearm and not session.own:
        raise WireError(REARM)
    return request


def describe(server: ControllerServer) -> str:
    """One line of status."""
    telemetry = server.telemetry
    counts = {name: telemetry.total(name) for name in ("ticks", "bad_frames", "refused")}
    words = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in counts.items())
    keys = {client: server.latches.key(client) for client in server.latches.all()}
    stopped = ", ".join(f"{client} (key {key})" for client, key in keys.items())
    return f"{len(server.sessions)} clients, {words}" + (stopped and f"; stopped: {stopped}")
