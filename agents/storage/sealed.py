"""Reading what somebody else may have written: no link is followed, nothing is without bound.

A name below a folder is opened part by part, so that neither it nor a folder on its way is a link.
Pipes and devices are not waited for. JSON is strict and bounded in bytes and depth. Imports no
jax.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from agents.storage.files import CheckpointError

CHUNK = 1 << 20  # bytes read at once when hashing
MOST_TEXT = 1 << 20
"""Bytes of a file of settings."""
MOST_DEPTH = 64
"""Levels of lists and tables in JSON."""
_PART = re.compile(r"[^/\\\x00-\x1f\x7f]{1,255}")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def is_plain(name: str) -> bool:
    """Whether `name` is relative, below the folder it is in, and printable."""
    parts = name.split("/")
    return len(parts) <= 8 and all(_PART.fullmatch(p) and p not in (".", "..") for p in parts)


@contextlib.contextmanager
def opened(folder: Path, name: str, most: int, expected: str = "") -> Iterator[tuple[IO, int]]:
    """(binary file, size) of a regular file with one name, of at most `most` bytes.

    Raises CheckpointError naming the file; `expected` is said with it.
    """
    said = f", {expected}" if expected else ""
    if not is_plain(name):
        raise CheckpointError(f"{name[:80]!r}: not a plain name below the folder{said}")
    descriptor = -1
    try:
        descriptor = _open(folder, name.split("/"))
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise CheckpointError(
                f"{name}: not a regular file with one name (links are refused){said}"
            )
        if found.st_size > most:
            raise CheckpointError(
                f"{name}: {found.st_size} bytes, more than the {most} allowed{said}"
            )
        with open(descriptor, "rb", closefd=False) as file:
            yield file, found.st_size
    except OSError as error:
        why = "a link, which is not followed" if error.errno == errno.ELOOP else error.strerror
        raise CheckpointError(f"{name} cannot be read ({why}){said}") from None
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def read(folder: Path, name: str, most: int = MOST_TEXT, expected: str = "") -> bytes:
    """Content of such a file. Raises CheckpointError."""
    with opened(folder, name, most, expected) as (file, size):
        return file.read(size)


def digest(folder: Path, name: str, most: int, expected: str = "") -> tuple[str, int]:
    """(SHA-256 in hex, size) of such a file. Raises CheckpointError."""
    found, size = hashlib.sha256(), 0
    with opened(folder, name, most, expected) as (file, _):
        while (chunk := file.read(CHUNK)) and size <= most:
            found.update(chunk)
            size += len(chunk)
    return found.hexdigest(), size


def parse(raw: bytes, most: int = MOST_TEXT, constants: bool = False) -> Any:
    """JSON: bounded, and without NaN unless `constants`. Raises ValueError."""
    if len(raw) > most:
        raise ValueError(f"more than {most} bytes")
    try:
        value = json.loads(raw, parse_constant=None if constants else _refuse)
    except RecursionError:
        raise ValueError(f"more than {MOST_DEPTH} levels") from None
    if _deeper(value, MOST_DEPTH):
        raise ValueError(f"more than {MOST_DEPTH} levels")
    return value


def read_json(path: Path, most: int = MOST_TEXT, constants: bool = False) -> Any:
    """JSON of the file `path`, which may not be a link. Raises CheckpointError naming it."""
    try:
        return parse(read(path.parent, path.name, most), most, constants)
    except (CheckpointError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None


def _open(folder: Path, parts: list[str]) -> int:
    """Descriptor of a file below `folder`, no part of whose name is a link. Raises OSError."""
    at = os.open(folder, _DIRECTORY)
    try:
        for part in parts[:-1]:
            inner = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = inner
        return os.open(parts[-1], _FILE, dir_fd=at)
    finally:
        os.close(at)


def _deeper(value: Any, levels: int) -> bool:
    """Whether lists and tables are nested deeper than `levels`; without recursion."""
    layer = [value]
    while layer := [node for node in layer if isinstance(node, (dict, list))]:
        if not levels:
            return True
        levels -= 1
        layer = [i for node in layer for i in (node.values() if isinstance(node, dict) else node)]
    return False


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")
