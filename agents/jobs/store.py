"""Results of points in a directory: one file a point, written in one step, verified when read.

    DIRECTORY/ points/KEY.json   {"point", "result" or "error", "sha256"}
               lock              held while a process adds to it

The same point always has the same key, so a repeated command finds what is finished. Imports no
jax.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from agents.runs.directory import RunDir, RunLockedError, plain
from agents.storage import sealed
from agents.storage.files import CheckpointError, own_directory, sha256_bytes, write_atomically

MOST_RESULT = 1 << 26
PREFIX, DIGITS = 80, 16  # longest readable part and length of the hash of a key


def canonical(value: Any) -> str:
    """The one JSON text of a value: keys sorted, no spaces, ASCII; NaN and infinities as null.

    Raises TypeError for what JSON cannot hold.
    """
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def key_of(point: Mapping[str, Any]) -> str:
    """Name of a point: its "name" in safe characters, a dash, 16 hex digits of its content."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", str(point.get("name", "point")))[:PREFIX].strip("-.")
    return f"{name or 'point'}-{sha256_bytes(canonical(point).encode())[:DIGITS]}"


class Store:
    """Results and failures by key.

    Making one touches nothing. As a context manager it makes the directories and holds the lock;
    who only reads needs neither. Writers raise StorageError.
    """

    def __init__(self, directory: Path | str):
        self.directory = Path(directory)
        self.points = self.directory / "points"
        self._run = RunDir(self.directory)

    def __enter__(self) -> Self:
        own_directory(self.points)
        try:
            self._run.acquire()
        except RunLockedError as error:
            raise RunLockedError(str(error).replace("--run-dir", "--out")) from None
        for left_over in self.points.glob(".tmp-*"):  # of a process killed while it wrote
            left_over.unlink(missing_ok=True)
        return self

    def __exit__(self, *_) -> None:
        self._run.release()

    def path(self, key: str) -> Path:
        """File of a point."""
        return self.points / f"{key}.json"

    def result(self, key: str) -> dict[str, Any] | None:
        """Result of a finished point; None if missing, failed, torn or another point's file."""
        return self._read(key).get("result")

    def failure(self, key: str) -> str | None:
        """Why a point failed, in one line; None if it did not."""
        return self._read(key).get("error")

    def write(self, key: str, point: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """Keep the result of a point; it is on the disk when this returns."""
        self._write(key, {"point": point, "result": result})

    def write_failure(self, key: str, point: Mapping[str, Any], reason: str) -> None:
        """Keep why a point failed; its next success replaces this."""
        self._write(key, {"point": point, "error": " ".join(reason.split())})

    def _write(self, key: str, content: dict[str, Any]) -> None:
        signed = content | {"sha256": sha256_bytes(canonical(content).encode())}
        write_atomically(self.path(key), canonical(signed).encode() + b"\n")

    def _read(self, key: str) -> dict[str, Any]:
        """Content of a point's file, {} unless every byte is as it was written for that key."""
        try:
            content = sealed.read_json(self.path(key), MOST_RESULT)
            digest = content.pop("sha256")
            if digest == sha256_bytes(canonical(content).encode()):
                return content if key_of(content["point"]) == key else {}
        except (CheckpointError, ValueError, TypeError, KeyError, AttributeError):
            pass
        return {}
