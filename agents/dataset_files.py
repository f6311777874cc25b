"""The files of a dataset and their checks: sizes always, SHA-256 once and on demand.

    DATA/ data.json  arrays/NAME.npy  MANIFEST.json   .verified

The manifest lists size and SHA-256 of every other file and its own digest. `.verified` says that
the sums were right for the sizes and times the files have now, so that opening reads no data twice.
"""

import contextlib
import json
from pathlib import Path
from typing import Any

from wm.durable import CheckpointError, sha256_bytes, sha256_file, write_atomically
from wm.manifest import MANIFEST, encode

FORMAT = 1
DATA, ARRAYS, VERIFIED = "data.json", "arrays", ".verified"
HOW = "collect it again into another directory, or restore the files"


class DatasetError(CheckpointError):
    """A dataset that must not be used; shown as one line (exit code 3)."""


def write_manifest(path: Path) -> None:
    """Hash and sync data.json and the arrays, and write the manifest: the dataset is complete."""
    entries = {}
    for name in _names(path):
        digest, size = sha256_file(path / name, sync=True)
        entries[name] = {"sha256": digest, "size": size}
    body = {"files": entries, "format": FORMAT}
    write_atomically(path / MANIFEST, encode({**body, "sha256": sha256_bytes(encode(body))}))
    _remember(path, entries)


def read_manifest(path: Path) -> dict[str, dict[str, Any]]:
    """{name: {"sha256", "size"}}. Raises DatasetError naming what is wrong."""
    try:
        raw = (path / MANIFEST).read_bytes()
    except OSError as error:
        raise DatasetError(f"{path / MANIFEST} cannot be read ({error.strerror}); {HOW}") from None
    try:
        manifest = json.loads(raw)
        intact = raw == encode(manifest)
        intact &= manifest.pop("sha256") == sha256_bytes(encode(manifest))
        intact &= manifest["format"] == FORMAT
        entries = manifest["files"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        intact, entries = False, {}
    if not intact:
        raise DatasetError(
            f"{path / MANIFEST} is damaged, expected a manifest of format {FORMAT}; {HOW}"
        )
    return entries


def check(path: Path, full: bool = False) -> None:
    """Sizes; and sums when they were never compared for these files, or `full` asks for it.

    Raises DatasetError naming the first file that is missing or differs.
    """
    entries = read_manifest(path)
    for name, entry in entries.items():
        try:
            size = (path / name).stat().st_size
        except OSError as error:
            raise DatasetError(f"{path / name} cannot be read ({error.strerror}); {HOW}") from None
        if size != entry["size"]:
            raise DatasetError(f"{path / name} has {size} bytes, expected {entry['size']}; {HOW}")
    if not full and _remembered(path) == _stamp(path, entries):
        return
    for name, entry in entries.items():
        digest, _ = sha256_file(path / name)
        if digest != entry["sha256"]:
            raise DatasetError(
                f"{path / name} is damaged: SHA-256 {digest[:12]}..., expected "
                f"{entry['sha256'][:12]}...; {HOW}"
            )
    _remember(path, entries)


def _names(path: Path) -> list[str]:
    return [DATA, *sorted(f"{ARRAYS}/{file.name}" for file in (path / ARRAYS).glob("*.npy"))]


def _stamp(path: Path, entries: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What changes when a file does: manifest entry, size and time of last change."""
    stats = {name: (path / name).stat() for name in entries}
    return {n: [entries[n]["sha256"], s.st_size, s.st_mtime_ns] for n, s in stats.items()}


def _remembered(path: Path) -> Any:
    try:
        return json.loads((path / VERIFIED).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def _remember(path: Path, entries: dict[str, dict[str, Any]]) -> None:
    """Keep the stamp; a read-only dataset is compared again the next time."""
    with contextlib.suppress(OSError):
        (path / VERIFIED).write_text(json.dumps(_stamp(path, entries)))
