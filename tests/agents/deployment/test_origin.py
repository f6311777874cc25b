"""Who may speak to a web endpoint on this machine, and what its sliders can be set to."""

import asyncio
import http.client
import socket
from http import HTTPStatus

import pytest
from websockets.asyncio import server
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from agents.deployment.origin import guarded, is_loopback, refusal
from agents.deployment.viewer.viewer import Slider
from agents.runs.config import ConfigError

OURS = ("localhost:80", "LOCALHOST", "127.0.0.1", "127.0.0.9:80", "[::1]:80")
FOREIGN = (
    "",
    "evil.example",
    "localhost.evil",
    "localhost:81",
    "127.0.0.1@evil",
    "localhost/",
    "[",
)


def asked(host, listens="127.0.0.1", port=80, pages=False, **headers):
    return refusal(Headers({"Host": host, **headers}), listens, port, pages=pages)


def test_host_has_to_be_this_machine():
    assert [host for host in OURS if asked(host)] == []
    assert [host for host in FOREIGN if not asked(host)] == []
    assert refusal(Headers(), "127.0.0.1", 80)
    assert refusal(Headers([("Host", "localhost"), ("Host", "localhost")]), "::1", 80)
    assert not asked("robot.example", ""), (
        "where a token is asked for, a proxy may pass on its name"
    )


def test_on_the_network_an_address_or_the_own_name():
    for host in ("10.0.0.7:9000", "[fe80::1]:8080", socket.gethostname(), "lab.example:8080"):
        assert not asked(host, "lab.example")
    assert asked("evil.example", "0.0.0.0")


def test_pages_speak_to_where_they_came_from_alone():
    own = {"Origin": "http://localhost:8080"}
    assert not asked("localhost:8080", port=8080, pages=True, **own)
    assert asked("localhost:8080", port=8080, **own), "this endpoint has no pages"
    for origin in (
        "null",
        "http://localhost:3000",
        "https://localhost:8080",
        "http://evil.example",
    ):
        assert asked("localhost:8080", port=8080, pages=True, Origin=origin)


def test_loopback():
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.1.2.3", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "", "10.0.0.7", "robot.local")))


def test_a_library_that_serves_pages_is_kept_from_others():
    """As viser does: websockets and pages on one port, and no hook of its own."""

    def either(connection, request):
        return None if "Upgrade" in request.headers else connection.respond(HTTPStatus.OK, "page")

    async def trial():
        speak = lambda connection: connection.send("scene")  # noqa: E731
        async with server.serve(speak, "127.0.0.1", 0, process_request=either) as made:
            await asyncio.to_thread(visit, made.sockets[0].getsockname()[1])

    plain = server.serve
    with guarded("127.0.0.1"):
        asyncio.run(trial())
    assert server.serve is plain
    with pytest.raises(ConfigError, match="cannot be kept from other sites"), guarded("127.0.0.1"):
        pass  # a version that starts its server otherwise would be open


def visit(port):
    """The own page and its websocket; then others'."""
    assert page(port, f"localhost:{port}") == 200
    assert page(port, f"evil.example:{port}") == 403
    with connect(f"ws://127.0.0.1:{port}", origin=f"http://127.0.0.1:{port}") as line:
        assert line.recv(timeout=30) == "scene"
    for origin in ("http://evil.example", "http://localhost:1", "null"):
        with pytest.raises(InvalidStatus, match="403"):
            connect(f"ws://127.0.0.1:{port}", origin=origin)


def page(port, host):
    asking = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    asking.request("GET", "/", headers={"Host": host})
    status = asking.getresponse().status
    asking.close()
    return status


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (64, 64),
        (70.0, 64),
        (10**400, 512),
        (-1e30, 16),
        (float("inf"), 512),
        (float("nan"), 100),
        (True, 100),
        ("512", 100),
        (None, 100),
        ([512], 100),
    ],
)
def test_a_slider_gives_what_it_shows(given, read):
    found = Slider(16, 512, 16, 100).read(given)
    assert (found, type(found)) == (read, int)


def test_a_slider_of_parts():
    slider = Slider(0.1, 10.0, 0.1, 0.55)
    assert [slider.read(x) for x in (0.55, 2.0000001, 1e308, -3)] == [0.55, 2.0, 10.0, 0.1]
