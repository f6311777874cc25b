"""Time that the wire adds: round trips of a client on loopback, beside those of an echo."""

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.sync.client import connect
from websockets.uri import parse_uri

from agents.deployment.realtime.pacing import ask_for_priority
from agents.deployment.serving.wire import pack
from agents.jobs import children
from tests.soak.serve_soak import received, run_directory, server

WARM = 20
NOTHING = pack({"obs": np.zeros(5, np.float32), "server_timing": {"infer_ms": 0.0}})
ECHO = """\
import asyncio
from websockets.asyncio.server import serve

async def echo(connection):
    async for message in connection:
        await connection.send(message)

async def main():
    async with serve(echo, "127.0.0.1", 0, compression=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()

asyncio.run(main())
"""


class Wire:
    """A client without threads: a socket and the protocol."""

    def __init__(self, host: str, port: int):
        self._socket = socket.create_connection((host, port), timeout=10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._protocol = ClientProtocol(parse_uri(f"ws://{host}:{port}"))
        self._protocol.send_request(self._protocol.connect())
        self._events: list[Any] = []
        self._flush()
        while not any(isinstance(event, Response) for event in self._events):
            self._more()

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self._protocol.send_close()
        self._flush()
        self._socket.close()

    def send(self, data: bytes) -> None:
        """One binary message."""
        self._protocol.send_binary(data)
        self._flush()

    def recv(self, timeout: float) -> bytes | str:
        """The next message; they are short enough for one frame. Raises TimeoutError."""
        self._socket.settimeout(timeout)
        while True:
            while self._events:
                event = self._events.pop(0)
                if isinstance(event, Frame) and event.opcode is Opcode.BINARY:
                    return bytes(event.data)
                if isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                    return bytes(event.data).decode()
            self._more()

    def _more(self) -> None:
        self._protocol.receive_data(self._socket.recv(65536))
        self._events += self._protocol.events_received()
        self._flush()

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            self._socket.sendall(data)


def _usual(host: str, port: int) -> Any:
    """The client that openpi and docs/client.py use."""
    return connect(f"ws://{host}:{port}", compression=None)


@contextlib.contextmanager
def _echo() -> Iterator[tuple[str, int]]:
    """A server of the same library, in a process of its own, that sends back what it gets."""
    process = subprocess.Popen(children.python(ECHO), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield "127.0.0.1", int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def transport(count: int, seed: int = 0, path: str = "") -> dict[str, Any]:
    """`count` round trips of one client: what the wire adds to the computing, in milliseconds.

    By a client that is a socket and the protocol alone, and by the usual one, which has a thread
    that receives; each beside a server of the same library that sends back what it got.
    """
    rng, found = np.random.default_rng(seed), {}
    ask_for_priority()
    with run_directory(path) as run, server(run, "--mode", "prior") as (host, port, process):
        for name, client in (("", Wire), ("usual_", _usual)):
            with client(host, port) as line:
                size = received(line)["obs"]["shape"][0]
                requests = rng.uniform(-1, 1, (count + WARM, size)).astype(np.float32)
                took = _round_trips(line, [pack({"obs": obs}) for obs in requests])
            found |= _percentiles(name, took)
        process.terminate()
        process.communicate(timeout=60)
    with _echo() as (host, port):
        for name, client in (("echo_", Wire), ("usual_echo_", _usual)):
            with client(host, port) as line:
                found |= _percentiles(name, _round_trips(line, [NOTHING] * (count + WARM)))
    return {**found, "violations": ["p99 of 1 ms or more"] * bool(found["p99_ms"] >= 1)}


def _round_trips(line: Any, requests: list[bytes]) -> np.ndarray:
    """Milliseconds of each round trip but the first WARM, without what was computed meanwhile."""
    took = np.zeros(len(requests))
    for i, request in enumerate(requests):
        begin = time.perf_counter()
        line.send(request)
        answer = received(line)
        took[i] = 1e3 * (time.perf_counter() - begin) - answer["server_timing"]["infer_ms"]
        time.sleep(0.002)
    return took[WARM:]


def _percentiles(name: str, took: np.ndarray) -> dict[str, float]:
    p50, p99 = np.percentile(took, [50, 99])
    return {f"{name}p50_ms": p50, f"{name}p99_ms": p99}
