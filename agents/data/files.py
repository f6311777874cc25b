"""The files of a dataset and their checks: sizes always, SHA-256 once and on demand.

    DATA/ data.json  arrays/NAME.npy  MANIFEST.json

The manifest lists size and SHA-256 of every other file and its own digest. That the sums were
right for the sizes and times the files have now is remembered in the user's cache, so that opening
reads no data twice and writes nothing into the dataset.
"""

import contextlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents.storage import manifest, sealed
from agents.storage.files import (
    CheckpointError,
    StorageError,
    own_directory,
    sha256_bytes,
    write_atomically,
)
from agents.storage.manifest import MANIFEST as MANIFEST
from agents.storage.manifest import Entry

FORMAT = 1
DATA, ARRAYS = "data.json", "arrays"
HOW = "collect it again into another directory, or restore the files"
MAX_DATA = 1 << 27
_NAME = re.compile(rf"{ARRAYS}/[A-Za-z0-9_]{{1,64}}\.npy")


def _most(name: str) -> int:
    """Bytes that a file of a dataset may have."""
    return MAX_DATA if name == DATA else manifest.MOST_FILE if _NAME.fullmatch(name) else 0


LISTED = manifest.Kind(_most, required=(DATA,), closed=False)


class DatasetError(CheckpointError):
    """A dataset that must not be used; shown as one line (exit code 3)."""


def write_manifest(path: Path) -> None:
    """Hash and sync data.json and the arrays, and write the manifest: the dataset is complete."""
    names = [DATA, *sorted(f"{ARRAYS}/{file.name}" for file in (path / ARRAYS).glob("*.npy"))]
    _remember(path, manifest.write_listed(path, names))


def check(path: Path, full: bool = False) -> dict[str, Entry]:
    """Sizes; and sums when they were never compared for these files, or `full` asks for it.

    What the manifest lists. Raises DatasetError naming the first file that is missing or differs.
    """
    try:
        entries = manifest.read(path, LISTED)
        stamp = _stamp(path, entries)
        if full or _remembered(path) != stamp:
            manifest.check(path, entries, LISTED)
            _remember(path, entries)
    except CheckpointError as error:
        raise DatasetError(f"{path}/{error}; {HOW}") from None
    return entries


def stamp_file(path: Path) -> Path:
    """Where it is remembered that the sums of the dataset at `path` were right."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    name = sha256_bytes(os.fsencode(os.path.realpath(path)))
    return Path(cache, "latentmpc", "verified", f"{name}.json")


def _stamp(path: Path, entries: Mapping[str, Entry]) -> dict[str, Any]:
    """What changes with a file: entry, size, number and times. Raises CheckpointError."""
    stamp = {}
    for name, entry in entries.items():
        with sealed.opened(path, name, _most(name), str(entry)) as (file, size):
            if size != entry.size:
                raise CheckpointError(f"{name} has {size} bytes, {entry}")
            found = os.fstat(file.fileno())
            stamp[name] = [entry.sha256, size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns]
    return stamp


def _remembered(path: Path) -> Any:
    try:
        return json.loads(stamp_file(path).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def _remember(path: Path, entries: Mapping[str, Entry]) -> None:
    """Keep the stamp; where that is not possible, sums are compared again the next time."""
    with contextlib.suppress(OSError, StorageError, CheckpointError):
        file = stamp_file(path)
        own_directory(file.parent)
        write_atomically(file, json.dumps(_stamp(path, entries)).encode())
