"""HTTP endpoints of a controller server, and whom it lets in.

    /healthz            OK, and who is stopped; for everyone
    /metrics            for Prometheus
    /rearm?client=NAME  an operator leaves a client's latched stop; with the token, or the client's
                        key where there is none (&key=KEY)

A request is a GET, as a websocket's is; a page that does something must therefore be out of reach
of web pages (`agents.deployment.origin`), which know no token and no key.
"""

import hmac
from dataclasses import dataclass
from http import HTTPStatus

from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from agents.deployment.origin import refusal
from agents.deployment.serving.batching import Client
from agents.deployment.serving.config import ServeConfig
from agents.deployment.serving.metrics import Metrics
from agents.deployment.serving.stops import EStops, client_of, query


@dataclass
class HttpEndpoints:
    """The HTTP side of one server."""

    config: ServeConfig
    token: str
    clients: list[Client]
    metrics: Metrics
    stops: EStops

    def answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """A page; None to go on and speak websocket."""
        path, port = request.path.partition("?")[0], connection.local_address[1]
        host = "" if self.token else self.config.host
        if foreign := refusal(request.headers, host, port):
            return self._refuse(connection, "origin", HTTPStatus.FORBIDDEN, foreign)
        allowed = self._allowed(request.headers.get_all("Authorization"))
        if path == "/healthz":
            return connection.respond(HTTPStatus.OK, self.health(allowed))
        if not allowed:
            return self._refuse(connection, "token", HTTPStatus.UNAUTHORIZED, "a token is needed")
        if path == "/metrics":
            return connection.respond(HTTPStatus.OK, self.metrics.text())
        if path == "/rearm":
            return connection.respond(*self._rearmed(request.path))
        if path != "/":
            known = "/, /healthz, /metrics or /rearm"
            return self._refuse(connection, "path", HTTPStatus.NOT_FOUND, known)
        try:
            client_of(request.path, "")
        except ValueError as error:
            return self._refuse(connection, "name", HTTPStatus.BAD_REQUEST, str(error))
        if len(self.clients) >= self.config.clients:
            text = f"{self.config.clients} clients are connected, which is the most"
            return self._refuse(connection, "full", HTTPStatus.SERVICE_UNAVAILABLE, text)
        if self.stops.full:
            text = "too many clients are stopped: re-arm them first (/rearm)"
            return self._refuse(connection, "stops", HTTPStatus.SERVICE_UNAVAILABLE, text)
        return None

    def health(self, allowed: bool) -> str:
        """OK: the server lives. Who is stopped; without a token only how many."""
        stopped = self.stops.reasons()
        lines = [f"{client} stopped until re-armed: {why}" for client, why in stopped.items()]
        if lines and not allowed:
            lines = [f"{len(stopped)} stopped until re-armed"]
        return "\n".join(["OK", *lines, ""])

    def _rearmed(self, path: str) -> tuple[HTTPStatus, str]:
        """An operator's decision: the stop goes, and with it that of who is connected."""
        client = query(path, "client")
        if not self.token and not self.stops.owned(client, query(path, "key")):
            text = "without a token, show the client's key: /rearm?client=NAME&key=KEY\n"
            return HTTPStatus.FORBIDDEN, text
        if not self.stops.rearm(client):
            stopped = ", ".join(self.stops.reasons()) or "nobody"
            return HTTPStatus.NOT_FOUND, f"{client[:64]!r} is not stopped, but {stopped}\n"
        self.metrics.count("rearms", "operator")
        return HTTPStatus.OK, f"{client} is re-armed\n"

    def _allowed(self, given: list[str]) -> bool:
        """`Authorization: Api-Key TOKEN` (openpi's client) or `Bearer TOKEN` (Prometheus)."""
        if not self.token:
            return True
        scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        known = scheme.lower() in ("api-key", "bearer")
        shown = token.strip().encode("utf-8", "replace")
        return hmac.compare_digest(shown, self.token.encode()) and known

    def _refuse(self, connection, reason: str, status: HTTPStatus, text: str) -> Response:
        self.metrics.count("refused", reason)
        return connection.respond(status, f"{text}\n")
