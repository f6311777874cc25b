"""What a controller server answers to plain HTTP, and whom it lets in.

    /healthz            OK, and who is stopped; for everyone
    /metrics            for Prometheus
    /rearm?client=NAME  an operator leaves a client's latched stop; with the token, or the client's
                        key where there is none (&key=KEY)

A request is a GET, as a websocket's is; a page that does something must therefore be out of reach
of web pages (`agents.deployment.origin`), which know no token and no key.
"""

import hmac
import time
from http import HTTPStatus

from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from agents.deployment.origin import refusal
from agents.deployment.realtime.pacing import Resident
from agents.deployment.serving.batching import Batcher, Session
from agents.deployment.serving.config import ServeConfig
from agents.deployment.serving.metrics import Telemetry
from agents.deployment.serving.stops import Latches, client_of, query
from agents.runs.compile import Compilations


class Pages:
    """The HTTP side of one server.

    Attributes:
        compilations: counted since the start.
    """

    def __init__(
        self,
        sessions: list[Session],
        config: ServeConfig,
        token: str,
        telemetry: Telemetry,
        latches: Latches,
        batcher: Batcher,
    ):
        self._sessions, self._config, self._token = sessions, config, token
        self._telemetry, self._latches, self._batcher = telemetry, latches, batcher
        self.compilations = Compilations()
        self._memory = Resident()

    def answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """A page; None to go on and speak websocket."""
        path, port = request.path.partition("?")[0], connection.local_address[1]
        host = "" if self._token else self._config.host
        if foreign := refusal(request.headers, host, port):
            return self._refuse(connection, "origin", HTTPStatus.FORBIDDEN, foreign)
        allowed = self._allowed(request.headers.get_all("Authorization"))
        if path == "/healthz":
            return connection.respond(HTTPStatus.OK, self.health(allowed))
        if not allowed:
            return self._refuse(connection, "token", HTTPStatus.UNAUTHORIZED, "a token is needed")
        if path == "/metrics":
            return connection.respond(HTTPStatus.OK, self.metrics())
        if path == "/rearm":
            return connection.respond(*self._rearmed(request.path))
        if path != "/":
            known = "/, /healthz, /metrics or /rearm"
            return self._refuse(connection, "path", HTTPStatus.NOT_FOUND, known)
        try:
            client_of(request.path, "")
        except ValueError as error:
            return self._refuse(connection, "name", HTTPStatus.BAD_REQUEST, str(error))
        if len(self._sessions) >= self._config.clients:
            text = f"{self._config.clients} clients are connected, which is the most"
            return self._refuse(connection, "full", HTTPStatus.SERVICE_UNAVAILABLE, text)
        if self._latches.full:
            text = "too many clients are stopped: re-arm them first (/rearm)"
            return self._refuse(connection, "stops", HTTPStatus.SERVICE_UNAVAILABLE, text)
        return None

    def health(self, allowed: bool) -> str:
        """OK: the server lives. Who is stopped; without a token only how many."""
        stopped = self._latches.all()
        if not stopped:
            return "OK\n"
        if not allowed:
            return f"OK\n{len(stopped)} stopped until re-armed\n"
        return "".join(
            ["OK\n", *(f"{c} stopped until re-armed: {r}\n" for c, r in stopped.items())]
        )

    def metrics(self) -> str:
        """The page for Prometheus."""
        self._memory.sample(time.monotonic())
        sizes = self._batcher.sizes
        return self._telemetry.text(
            {
                "clients": len(self._sessions),
                "compilations": self.compilations.count,
                "batches": sum(sizes.values()),
                "batched_ticks": sum(size * n for size, n in sizes.items()),
                "stopped_clients": sum(s.guard.state == "stopped" for s in list(self._sessions)),
                "latched_stops": len(self._latches.all()),
                "resident_megabytes": self._memory.megabytes,
            }
        )

    def close(self) -> None:
        """Nothing more is measured."""
        self._memory.close()

    def _rearmed(self, path: str) -> tuple[HTTPStatus, str]:
        """An operator's decision: the latch goes, and so does the stop of who is connected."""
        client = query(path, "client")
        if not self._token and not self._latches.owned(client, query(path, "key")):
            text = "without a token, show the client's key: /rearm?client=NAME&key=KEY\n"
            return HTTPStatus.FORBIDDEN, text
        if not self._latches.release(client):
            stopped = ", ".join(self._latches.all()) or "nobody"
            return HTTPStatus.NOT_FOUND, f"{client[:64]!r} is not stopped, but {stopped}\n"
        self._telemetry.count("rearms", "by", "operator")
        return HTTPStatus.OK, f"{client} is re-armed\n"

    def _allowed(self, given: list[str]) -> bool:
        """`Authorization: Api-Key TOKEN` (openpi's client) or `Bearer TOKEN` (Prometheus)."""
        if not self._token:
            return True
        scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        known = scheme.lower() in ("api-key", "bearer")
        shown = token.strip().encode("utf-8", "replace")
        return hmac.compare_digest(shown, self._token.encode()) and known

    def _refuse(self, connection, reason: str, status: HTTPStatus, text: str) -> Response:
        self._telemetry.count("refused", "reason", reason)
        return connection.respond(status, f"{text}\n")
