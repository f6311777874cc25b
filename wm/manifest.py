"""The manifest of a checkpoint: name, size and SHA-256 of every other file in its directory.

The manifest holds its own digest too: it must be byte for byte as it was written. Links,
devices and files that it does not list are refused. Imports no jax.
"""

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wm.durable import CheckpointError, sha256_bytes, sha256_file, write_synced

FORMAT = 1
MANIFEST = "MANIFEST.json"


def write(directory: Path, step: int) -> None:
    """Hash and sync every file of `directory` and write the manifest."""
    entries = {}
    for file in _walk(directory):
        digest, size = sha256_file(file, sync=True)
        entries[file.relative_to(directory).as_posix()] = {"sha256": digest, "size": size}
    body = {"files": entries, "format": FORMAT, "step": step}
    write_synced(directory / MANIFEST, encode({**body, "sha256": sha256_bytes(encode(body))}))


def read_file(path: Path, name: str) -> bytes:
    """Content of one file, checked. Raises CheckpointError naming it."""
    entries = read(path)
    if name not in entries:
        raise CheckpointError(f"{name}: not in {MANIFEST}")
    data = _bytes(path, name)
    _compare(name, entries[name], sha256_bytes(data), len(data))
    return data


def problem(path: Path) -> str:
    """What is wrong with a checkpoint, empty when nothing is."""
    try:
        expected = read(path)
        found = {file.relative_to(path).as_posix(): file for file in _walk(path)}
        found.pop(MANIFEST, None)
        for name in sorted(expected.keys() | found.keys()):
            if name not in found:
                raise CheckpointError(f"{name}: missing, expected {expected[name]['size']} bytes")
            if name not in expected:
                raise CheckpointError(f"{name}: unexpected, not in {MANIFEST}")
            _compare(name, expected[name], *sha256_file(found[name]))
    except (CheckpointError, OSError) as error:
        return str(error)
    return ""


def read(path: Path) -> dict[str, dict]:
    """Entries of the manifest: {name: {"sha256", "size"}}. Raises CheckpointError."""
    raw = _bytes(path, MANIFEST)
    expected = f"expected a manifest of format {FORMAT} as it was written"
    try:
        manifest = json.loads(raw)
        intact = raw == encode(manifest)
        intact &= manifest.pop("sha256") == sha256_bytes(encode(manifest))
        intact &= manifest["format"] == FORMAT
        entries = manifest["files"]
        intact &= all(set(entry) == {"sha256", "size"} for entry in entries.values())
        intact &= not path.name.isdigit() or manifest["step"] == int(path.name)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        intact, entries = False, {}
    if not intact:
        raise CheckpointError(f"{MANIFEST}: damaged, {expected}")
    return entries


def _bytes(path: Path, name: str) -> bytes:
    """Content of a regular file. Raises CheckpointError."""
    try:
        _require_regular(path / name, name)
        return (path / name).read_bytes()
    except OSError as error:
        raise CheckpointError(f"{name}: cannot be read ({error.strerror})") from None


def _compare(name: str, entry: dict, digest: str, size: int) -> None:
    if size != entry["size"]:
        expected = f"expected {entry['size']} of SHA-256 {entry['sha256']}"
        raise CheckpointError(f"{name}: {size} bytes, {expected}")
    if digest != entry["sha256"]:
        raise CheckpointError(f"{name}: SHA-256 {digest[:12]}..., expected {entry['sha256']}")


def _walk(directory: Path) -> Iterator[Path]:
    """Every file below, sorted. Raises CheckpointError for links and other special files."""
    for folder, folders, names in os.walk(directory):
        folders.sort()
        for name in (*folders, *sorted(names)):
            file = Path(folder, name)
            if name in folders and not file.is_symlink():
                continue
            _require_regular(file, file.relative_to(directory).as_posix())
            yield file


def _require_regular(file: Path, name: str) -> None:
    if not stat.S_ISREG(file.lstat().st_mode):
        raise CheckpointError(f"{name}: not a regular file (links are refused)")


def encode(value: Any) -> bytes:
    """JSON as it is written in checkpoints: one form for one value."""
    return json.dumps(value, indent=1, sort_keys=True).encode()
