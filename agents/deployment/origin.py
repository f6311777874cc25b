"""Which requests a web endpoint on this machine answers: none that another site's page sends.

A page can send requests to any address; its browser then names the page's site (Origin). Under a
name of its own that it lets point at this machine it can read the answers too (DNS rebinding);
that name stands in Host. So Host has to be this machine's, and Origin, if there is one, that of
the endpoint's own pages. Imports no jax.
"""

import contextlib
import ipaddress
import socket
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from websockets.datastructures import Headers

from agents.runs.config import ConfigError


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens on `host`."""
    return host == "localhost" or _address(host, loopback=True)


def refusal(headers: Headers, host: str, port: int, *, pages: bool = False) -> str:
    """Why a request is not answered, in words; empty when it is.

    The endpoint listens on `host` ("" where a token is asked for, which no page knows: then Host
    may be a proxy's) and `port`; `pages` says that it has pages of its own, which may speak to it.
    """
    hosts, origins = headers.get_all("Host"), headers.get_all("Origin")
    shown = hosts[0].lower() if len(hosts) == 1 else ""
    if host and not _ours(shown, host, port):
        own = f"localhost:{port}" if is_loopback(host) else f"an address or {host}"
        return f"open it as this machine: Host must be {own}"
    if origins and not (pages and origins == [f"http://{shown}"]):
        return "pages of other sites have no access (Origin)"
    return ""


@contextlib.contextmanager
def guarded(host: str) -> Iterator[None]:
    """Servers with pages that a library starts meanwhile refuse those of other sites.

    Viser has no hook for that. Raises ConfigError where it has started none, as it would be open.
    """
    from websockets.asyncio import server

    plain, made = server.serve, []

    def serve(*args: Any, process_request: Any = None, **options: Any) -> Any:
        def first(connection, request):
            port = connection.local_address[1]
            if foreign := refusal(request.headers, host, port, pages=True):
                return connection.respond(HTTPStatus.FORBIDDEN, f"{foreign}\n")
            return process_request(connection, request)

        made.append(plain(*args, process_request=first, **options))
        return made[-1]

    setattr(server, "serve", serve)  # noqa: B010
    try:
        yield
    finally:
        setattr(server, "serve", plain)  # noqa: B010
    if not made:
        raise ConfigError("this version of the viewer cannot be kept from other sites' pages")


def _ours(shown: str, host: str, port: int) -> bool:
    """Whether Host is this machine's: on loopback with the port, elsewhere an address or our name.

    An address cannot be made to point elsewhere, as a name can.
    """
    try:
        parts = urlsplit(f"//{shown}")
        name, given = parts.hostname or "", parts.port or 80
    except ValueError:
        return False
    if parts.netloc != shown or "@" in shown:
        return False
    if is_loopback(host):
        return given == port and is_loopback(name)
    return name in ("localhost", host.lower(), socket.gethostname().lower()) or _address(name)


def _address(name: str, loopback: bool = False) -> bool:
    try:
        found = ipaddress.ip_address(name)
    except ValueError:
        return False
    return found.is_loopback or not loopback
