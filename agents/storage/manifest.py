"""The manifest of a sealed folder: name, size and SHA-256 of every file that counts.

Checkpoints, datasets, bundles and flight recordings have one. It holds its own digest too and must
be byte for byte as it was written. A `Kind` says what such a folder may hold. Imports no jax.
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from agents.storage import sealed
from agents.storage.files import (
    CheckpointError,
    sha256_bytes,
    sha256_file,
    write_atomically,
    write_synced,
)

FORMAT = 1
MANIFEST = "MANIFEST.json"
MOST_MANIFEST = 8 << 20
MOST_FILE = 1 << 44
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Entry(NamedTuple):
    """Digest and size of a file in a manifest."""

    sha256: str
    size: int

    def __str__(self) -> str:
        return f"expected {self.size} bytes of SHA-256 {self.sha256}"


@dataclass(frozen=True)
class Kind:
    """A kind of sealed folder: the files that it may hold, further entries of its manifest."""

    most: Callable[[str], int] = lambda name: MOST_FILE
    """Bytes that a file may have; 0 for a name that such a folder does not have."""
    required: tuple[str, ...] = ()
    says: Mapping[str, Any] = field(default_factory=dict)
    """Entries of the manifest beside files, format, sha256 and step."""
    closed: bool = True
    """Whether a file that is not listed is refused."""


ANY = Kind()


def write(directory: Path, step: int) -> None:
    """Hash and sync every file of `directory` and write the manifest of a checkpoint, in place."""
    names = [name for name in walk(directory) if name != MANIFEST]
    write_synced(directory / MANIFEST, made(hashed(directory, names), step=step))


def write_listed(directory: Path, names: Iterable[str]) -> dict[str, Entry]:
    """Hash and sync these files and write the manifest in one step; what it says of them."""
    entries = hashed(directory, names)
    write_atomically(directory / MANIFEST, made(entries))
    return entries


def hashed(directory: Path, names: Iterable[str]) -> dict[str, Entry]:
    """Digest and size of files, which are forced to the disk."""
    return {name: Entry(*sha256_file(directory / name, sync=True)) for name in names}


def made(entries: Mapping[str, Entry], **says: Any) -> bytes:
    """MANIFEST.json for these files; `says` is what stands in it besides."""
    files = {name: entry._asdict() for name, entry in entries.items()}
    body = {"files": files, "format": FORMAT, **says}
    return encode({**body, "sha256": sha256_bytes(encode(body))})


def problem(path: Path, kind: Kind = ANY) -> str:
    """The first fault of a sealed folder in words, empty when it has none."""
    try:
        check(path, read(path, kind), kind)
    except (CheckpointError, OSError) as error:
        return str(error)
    return ""


def check(path: Path, entries: Mapping[str, Entry], kind: Kind = ANY) -> None:
    """Compare every byte with the manifest's entries. Raises CheckpointError naming the file."""
    check_names(path, entries, kind)
    for name, entry in sorted(entries.items()):
        most = min(kind.most(name), entry.size)  # one that is longer is not read to its end
        check_sum(name, entry, *sealed.digest(path, name, most, str(entry)))


def check_names(path: Path, entries: Mapping[str, Entry], kind: Kind) -> None:
    """Raise CheckpointError for a file that is missing, or not listed in a closed folder."""
    found = set(walk(path)) - {MANIFEST} if kind.closed else set(entries)
    for name in sorted(entries.keys() | found):
        if name not in found:
            raise CheckpointError(f"{name}: missing, {entries[name]}")
        if name not in entries:
            shown = name if sealed.is_plain(name) else repr(name)
            raise CheckpointError(f"{shown[:80]}: unexpected, not in {MANIFEST}")


def check_sum(name: str, entry: Entry, digest: str, size: int) -> None:
    """Raise CheckpointError unless a file is as listed."""
    if size != entry.size:
        raise CheckpointError(f"{name} has {size} bytes, {entry}")
    if digest != entry.sha256:
        raise CheckpointError(f"{name} is damaged: SHA-256 {digest[:12]}..., {entry}")


def read_file(path: Path, name: str, kind: Kind = ANY) -> bytes:
    """Content of one file, checked. Raises CheckpointError naming it."""
    entries = read(path, kind)
    if name not in entries:
        raise CheckpointError(f"{name}: not in {MANIFEST}")
    return content(path, name, entries[name], kind)


def content(path: Path, name: str, entry: Entry, kind: Kind = ANY) -> bytes:
    """Content of a listed file, checked. Raises CheckpointError naming it."""
    most = min(kind.most(name), entry.size)
    data = sealed.read(path, name, most, str(entry))
    check_sum(name, entry, sha256_bytes(data), len(data))
    return data


def read(path: Path, kind: Kind = ANY) -> dict[str, Entry]:
    """Files that the manifest of a folder lists. Raises CheckpointError."""
    raw = sealed.read(path, MANIFEST, MOST_MANIFEST, "expected a manifest")
    step = int(path.name) if re.fullmatch("[0-9]{9,18}", path.name) else None
    return entries_of(raw, kind, step)


def entries_of(raw: bytes, kind: Kind = ANY, step: int | None = None) -> dict[str, Entry]:
    """Files that a manifest lists: names that such a folder may have. Raises CheckpointError.

    A checkpoint's is also of its `step`, where that is given.
    """
    try:
        manifest = sealed.parse(raw, MOST_MANIFEST)
        intact = raw == encode(manifest)
        intact &= manifest.pop("sha256") == sha256_bytes(encode(manifest))
        intact &= manifest["format"] == FORMAT
        intact &= all(manifest[name] == value for name, value in kind.says.items())
        intact &= step is None or manifest["step"] == step
        entries = {name: Entry(**entry) for name, entry in manifest["files"].items()}
        intact &= all(type(e.size) is int and e.size >= 0 for e in entries.values())
        intact &= all(_SHA256.fullmatch(e.sha256) is not None for e in entries.values())
    except (ValueError, KeyError, TypeError, AttributeError):
        intact, entries = False, {}
    if not intact:
        raise CheckpointError(
            f"{MANIFEST} is damaged (SHA-256 {sha256_bytes(raw)[:12]}...), expected a manifest of "
            f"format {FORMAT} as it was written"
        )
    for name, entry in entries.items():
        if not sealed.is_plain(name) or name == MANIFEST or not (most := kind.most(name)):
            raise CheckpointError(f"{MANIFEST}: lists {name[:80]!r}, which no such folder has")
        if entry.size > most:
            raise CheckpointError(f"{name}: {entry.size} bytes, more than the {most} allowed")
    if missing := [name for name in kind.required if name not in entries]:
        raise CheckpointError(f"{MANIFEST}: does not list {missing[0]}")
    return entries


def walk(directory: Path) -> list[str]:
    """Names of all files below, sorted. Raises CheckpointError for links and special files."""
    names = []
    for folder, folders, files in os.walk(directory):
        for name in (*folders, *files):
            file = Path(folder, name)
            below = file.relative_to(directory).as_posix()
            if name in files or file.is_symlink():
                if file.is_symlink() or not file.is_file():
                    raise CheckpointError(f"{below}: not a regular file (links are refused)")
                names.append(below)
    return sorted(names)


def encode(value: Any) -> bytes:
    """JSON as it is written in sealed folders: one form for one value."""
    return json.dumps(value, indent=1, sort_keys=True).encode()
