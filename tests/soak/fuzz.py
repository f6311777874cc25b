"""A hostile client: frames that are random, cut, flipped, lying, too long, or never finished.

Only for servers of one's own. Imports no jax.
"""

import json
import socket
import time
from collections import Counter
from collections.abc import Iterator

import msgspec
import numpy as np
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection, connect

from agents.deployment.serving.wire import pack

KINDS = ("random", "cut", "flipped", "lying", "text", "nan", "long", "slow", "fragments", "raw")
RARE = {"long": 0.01, "slow": 0.005, "fragments": 0.02, "raw": 0.005}
"""Shares of what costs a connection or time; the rest is shared evenly by the others."""
PATIENCE_S, TRIES = 0.02, 500


def message(kind: str, rng: np.random.Generator, size: int) -> bytes | str | Iterator[bytes]:
    """One bad message of a kind."""
    number = int(rng.integers(10**9))
    good = pack({"obs": rng.normal(size=5).astype(np.float32), "sequence": number})
    if kind == "random":
        return rng.bytes(int(rng.integers(0, 300)))
    if kind == "cut":
        return good[: int(rng.integers(0, len(good)))]
    if kind == "flipped":
        data = bytearray(good)
        for at in rng.integers(0, len(good), 3):
            data[at] ^= 1 << int(rng.integers(8))
        return bytes(data)
    if kind == "lying":
        shape = [int(n) for n in rng.integers(0, 2**40, 3)]
        dtype = str(rng.choice(["<f4", "|O8", "<U9", "V4", "<f4,<f4"]))
        array = {b"__ndarray__": True, b"data": b"1234", b"dtype": dtype, b"shape": shape}
        return msgspec.msgpack.encode({"obs": array})
    if kind == "text":
        return "".join(map(chr, rng.integers(32, 1000, 40)))
    if kind == "nan":
        return pack({"obs": np.full(int(rng.integers(1, 9)), np.nan, np.float32)})
    if kind == "long":
        return bytes(size)
    return iter((good[:3], b"\xc1" * int(rng.integers(1, 9)), good[3:]))


def attack(host: str, port: int, count: int, seed: int, size: int = 1 << 20) -> Counter[str]:
    """Send `count` bad frames, connecting again as often as need be; what was sent, by kind."""
    rng, sent = np.random.default_rng(seed), Counter[str]()
    rest = (1 - sum(RARE.values())) / (len(KINDS) - len(RARE))
    weights = np.array([RARE.get(kind, rest) for kind in KINDS])
    connection: ClientConnection | None = None
    while sum(sent[kind] for kind in KINDS) < count:
        kind = str(rng.choice(KINDS, p=weights / weights.sum()))
        if kind == "raw":
            _raw(host, port, rng)
            sent[kind] += 1
            continue
        try:
            if connection is None:
                connection = _connected(host, port)
                sent["connections"] += 1
            _send(connection, kind, message(kind, rng, size), rng)
            sent[kind] += 1
            if sent["answers"] % 4 == 0 or kind == "nan":
                connection.recv(timeout=PATIENCE_S)
            sent["answers"] += 1
        except TimeoutError:
            sent["answers"] += 1
        except (ConnectionClosed, ConnectionError):
            connection, sent["closed"] = None, sent["closed"] + 1
    if connection is not None:
        connection.close()
    return sent


def _connected(host: str, port: int) -> ClientConnection:
    for _ in range(TRIES):
        try:
            return connect(f"ws://{host}:{port}", compression=None, close_timeout=0.2)
        except (InvalidHandshake, ConnectionError, TimeoutError):  # full, or busy
            time.sleep(PATIENCE_S)
    raise SystemExit(f"{host}:{port} does not answer: has the server died?")


def _send(connection: ClientConnection, kind: str, data, rng: np.random.Generator) -> None:
    if kind == "slow":  # begin, dawdle, and leave without an end

        def dawdle() -> Iterator[bytes]:
            for part in data:
                yield part
                time.sleep(PATIENCE_S)

        connection.send(dawdle())
    else:
        connection.send(data)


def _raw(host: str, port: int, rng: np.random.Generator) -> None:
    """Bytes that are no HTTP, or HTTP that is no websocket, on a bare socket."""
    try:
        with socket.create_connection((host, port), 1.0) as line:
            line.sendall(b"GET / HTTP/1.1\r\n" * int(rng.integers(2)) + rng.bytes(64))
    except OSError:
        pass


def main(host: str, port: int, count: int, seed: int) -> None:
    """`attack`, in a process of its own; its counts are printed."""
    print(json.dumps(attack(host, port, count, seed)))
