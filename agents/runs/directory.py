"""The run directory: where everything of one training run lives, and who may write it.

    RUN/ config.json  metrics.jsonl  checkpoints/  replay/  result.json  report.html  video.mp4
         lock         held while a process trains into it

Imports no jax.
"""

import fcntl
import json
import math
import os
import shlex
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from agents.runs.config import ConfigError
from agents.runs.settings import current
from agents.storage import sealed
from agents.storage.files import (
    CheckpointError,
    open_own,
    own_directory,
    storage_error,
    write_atomically,
)

MOST_METRICS = 1 << 28
"""Bytes of metrics.jsonl."""


class RunLockedError(RuntimeError):
    """Another process trains into this run directory; shown as one line."""

    exit_code = 6


class RunDir:
    """Paths of a run, its lock, its metrics and its JSON files.

    Making one touches nothing; `create` and the writers do. As a context manager it holds the
    lock. Writers raise StorageError when the disk or its permissions do not let them.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.metrics = self.path / "metrics.jsonl"
        self.checkpoints = self.path / "checkpoints"
        self.replay = self.path / "replay"
        self.result = self.path / "result.json"
        self.report = self.path / "report.html"
        self.video = self.path / "video.mp4"
        self._lock: int | None = None

    @classmethod
    def create(cls, path: Path | str) -> "RunDir":
        """Make the directories if need be. Raises StorageError, CheckpointError (a link)."""
        run = cls(path)
        own_directory(run.checkpoints)
        own_directory(run.replay)
        return run

    @classmethod
    def open(cls, path: Path | str) -> "RunDir":
        """An existing run. Raises ConfigError if there is none."""
        run = cls(path)
        if not os.path.lexists(run.config):
            raise ConfigError(
                f"{path} is no run directory (no config.json in it): give the --run-dir of a "
                "training, or start one with `latentmpc train ENV --run-dir DIR`"
            )
        return run

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_) -> None:
        self.release()

    def acquire(self) -> None:
        """Lock the run for this process. Raises RunLockedError naming the process that holds it.

        The kernel unlocks it when the process ends, even by kill -9.
        """
        if self._lock is not None:
            return
        path = self.path / "lock"
        try:
            lock = open_own(path, os.O_RDWR)
        except OSError as error:
            raise storage_error(path, error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError:
            holder = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(lock)
            raise RunLockedError(
                f"{self.path} is in use by process {holder}: wait for it, stop it with "
                f"`kill {holder}`, or use another --run-dir"
            ) from None
        except OSError as error:
            os.close(lock)
            raise storage_error(path, error) from error
        self._lock = lock

    def release(self) -> None:
        """Unlock the run; nothing happens when it is not locked."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """Append one row to metrics.jsonl; it has reached the system when this returns.

        NaN and infinities become null. Rows of a decision come before its checkpoint.
        """
        line = json.dumps(plain(row), separators=(",", ":")) + "\n"
        try:
            with open(open_own(self.metrics, os.O_WRONLY | os.O_APPEND), "ab") as file:
                file.write(line.encode())
        except OSError as error:
            raise storage_error(self.metrics, error) from error

    def read_metrics(self) -> list[dict[str, Any]]:
        """Complete rows so far; a torn last line is left out."""
        return [row for _, row in self._rows()]

    def truncate_metrics(self, count: int, key: str = "env_steps") -> None:
        """Drop rows whose `key` is above `count`, and a torn last line (-1 drops all)."""
        if self.metrics.exists():
            kept = [line for line, row in self._rows() if _number(row.get(key, 0)) <= count]
            write_atomically(self.metrics, b"".join(kept))

    def write_json(self, name: str, value: Any) -> Path:
        """Replace a JSON file in one step; NaN and infinities become null."""
        path = self.path / name
        write_atomically(path, json.dumps(plain(value), indent=2).encode() + b"\n")
        return path

    def read_json(self, name: str) -> Any:
        """Content of a JSON file. Raises CheckpointError if it cannot be read."""
        try:
            return sealed.read_json(self.path / name)
        except CheckpointError as error:
            raise CheckpointError(
                f"{error}; use another --run-dir, or delete {shlex.quote(str(self.path))}"
            ) from error

    def read_table(self, name: str) -> dict[str, Any]:
        """Content of a JSON file that is a table. Raises CheckpointError."""
        value = self.read_json(name)
        if not isinstance(value, dict):
            raise CheckpointError(f"{self.path / name} cannot be used: expected a table")
        return value

    def ensure_config(
        self,
        config: Mapping[str, Any],
        ignore: Collection[str] = (),
        defaults: Mapping[str, Any] | None = None,
    ) -> bool:
        """Write config.json, or check that it holds the same settings; True if it was there.

        `ignore` names settings that may differ ("video", "learner.batch_size", or a whole
        block). A setting that a run of an earlier version does not have stands at its value in
        `defaults`, one that it has by another name counts. Raises ConfigError naming the first
        that differs.
        """
        if not self.config.exists():
            self.write_json(self.config.name, config)
            return False
        stored = _flat(plain(defaults)) if defaults else {}
        stored |= _flat(self.read_table(self.config.name))
        asked = _flat(plain(config))
        stored = {current(name, asked): value for name, value in stored.items()}
        for name in (*asked, *stored):
            if any(f"{name}.".startswith(f"{skipped}.") for skipped in ignore):
                continue
            old, new = stored.get(name, "not set"), asked.get(name, "not set")
            if old != new:
                raise ConfigError(
                    f"{name} is {new}, but {self.config} was made with {old}: set it back, use "
                    f"another --run-dir, or delete {shlex.quote(str(self.path))} to start again"
                )
        return True

    def _rows(self) -> Iterator[tuple[bytes, dict[str, Any]]]:
        """(line, row) of every complete line of the metrics."""
        if not os.path.lexists(self.metrics):
            return
        try:
            lines = sealed.read(self.path, self.metrics.name, MOST_METRICS)
        except CheckpointError as error:
            raise CheckpointError(f"{self.path}/{error}") from None
        for line in lines.splitlines(keepends=True):
            try:
                row = sealed.parse(line)
            except ValueError:
                continue
            if line.endswith(b"\n") and isinstance(row, dict):
                yield line, row


def _number(value: Any) -> float:
    """A count of a row; what is none belongs to no checkpoint."""
    return value if isinstance(value, (int, float)) else math.inf


def plain(value: Any) -> Any:
    """A value as JSON can hold it: arrays as lists, NaN and infinities as null, paths as text."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if hasattr(value, "__array__"):
        import numpy as np  # a tenth of a second that `--help` does not need

        return plain(np.asarray(value).tolist())
    return value


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings as {"learner.batch_size": 256}."""
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    flat = {}
    for key, item in value.items():
        flat |= _flat(item, f"{prefix}.{key}" if prefix else key)
    return flat
