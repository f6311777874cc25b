"""Replay rows on disk as immutable segments, so that a save writes only the new rows.

A segment holds rows [start, stop) of every field, with rows counted since the run began. The
references (name, range, size, digest) live in the checkpoint, which decides what counts: files
that it does not list were written after it. Nothing is ever unpickled.
"""

import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from agents.storage import npy as npy_files
from agents.storage import sealed
from agents.storage.checkpoint import CheckpointError, sha256_bytes
from agents.storage.files import own_directory, storage_error, write_atomically

MOST_SEGMENT, MOST_REFS = 1 << 36, 1 << 24
_NAME = re.compile(r"([0-9]+)-([0-9]+)\.npz")


@dataclass(frozen=True)
class SegmentRef:
    """A segment file: its name, its rows [start, stop), its SHA-256 and size in bytes."""

    name: Annotated[str, Meta(pattern=r"\A[0-9]+-[0-9]+\.npz\Z")]
    start: Annotated[int, Meta(ge=0)]
    stop: int
    sha256: str
    size: Annotated[int, Meta(ge=0, le=MOST_SEGMENT)]


def dump_refs(refs: Sequence[SegmentRef]) -> bytes:
    """References as JSON, to be an extra file of a checkpoint."""
    return json.dumps([asdict(ref) for ref in refs], indent=1).encode()


def load_refs(data: bytes) -> list[SegmentRef]:
    """References from JSON. Raises CheckpointError for anything else."""
    try:
        refs = msgspec.convert(sealed.parse(data, MOST_REFS), list[SegmentRef])
        if any(ref.start >= ref.stop for ref in refs):
            raise ValueError("a segment without rows")
    except ValueError:
        raise CheckpointError(
            "the list of replay segments is damaged: use another checkpoint"
        ) from None
    return refs


def write_segment(directory: Path, start: int, rows: dict[str, np.ndarray]) -> SegmentRef:
    """Store rows (each field [n, ...], n >= 1) as rows start .. start + n of the run.

    Synced and renamed into place. Raises StorageError, ValueError for rows that do not fit.
    """
    counts = {name: len(value) for name, value in rows.items()}
    if not counts or len(set(counts.values())) != 1 or not min(counts.values()):
        raise ValueError(f"fields of a segment need one equal number of rows, got {counts}")
    if odd := [name for name, value in rows.items() if value.dtype.hasobject]:
        raise ValueError(f"field {odd[0]} holds Python objects, expected numbers")
    stop = start + min(counts.values())
    buffer = io.BytesIO()
    np.savez(buffer, **rows)  # pyright: ignore[reportArgumentType]
    data = buffer.getvalue()
    name = f"{start:012d}-{stop:012d}.npz"
    write_atomically(own_directory(directory) / name, data)
    return SegmentRef(name, start, stop, sha256_bytes(data), len(data))


def read_segments(directory: Path, refs: Sequence[SegmentRef]) -> dict[str, np.ndarray]:
    """Rows of all segments, verified and concatenated; {} without segments.

    Raises CheckpointError naming the file that is missing, damaged or out of order.
    """
    parts: list[dict[str, np.ndarray]] = []
    for i, ref in enumerate(refs):
        if i and refs[i - 1].stop != ref.start:
            raise _refusal(directory / ref.name, f"expected rows from {refs[i - 1].stop}")
        parts.append(_read(directory / ref.name, ref))
        if parts[0].keys() != parts[-1].keys():
            raise _refusal(directory / ref.name, f"expected the fields {sorted(parts[0])}")
    if not parts:
        return {}
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def drop_after(directory: Path, refs: Sequence[SegmentRef]) -> None:
    """Remove files written after the checkpoint being resumed, whose segments are `refs`.

    Segments before the first of `refs` stay: an older checkpoint may need them.
    """
    first = refs[0].start if refs else 0
    listed = {ref.name for ref in refs}
    for path, (_, stop) in _files(directory):
        if path.name not in listed and (stop is None or stop > first):
            _unlink(path)


def drop_before(directory: Path, oldest_row: int) -> None:
    """Remove segments wholly before `oldest_row`.

    That is the oldest row which ANY kept checkpoint needs, so that the previous one can still
    be resumed.
    """
    for path, (_, stop) in _files(directory):
        if stop is not None and stop <= oldest_row:
            _unlink(path)


def _files(directory: Path) -> Iterator[tuple[Path, tuple[int, int] | tuple[None, None]]]:
    """Files of a replay directory with the rows [start, stop) in their names."""
    if not directory.is_dir():
        return
    for path in sorted(directory.iterdir()):
        found = _NAME.fullmatch(path.name)
        yield path, (int(found[1]), int(found[2])) if found else (None, None)


def _read(path: Path, ref: SegmentRef) -> dict[str, np.ndarray]:
    """Rows of one segment. Raises CheckpointError."""
    try:
        data = sealed.read(path.parent, path.name, ref.size)
    except CheckpointError as error:
        raise _refusal(path, str(error)) from None
    if len(data) != ref.size:
        raise _refusal(path, f"{len(data)} bytes, expected {ref.size}")
    if (digest := sha256_bytes(data)) != ref.sha256:
        raise _refusal(path, f"SHA-256 {digest[:12]}..., expected {ref.sha256}")
    try:
        rows = npy_files.archive(data)
    except ValueError as error:
        raise _refusal(path, f"not an archive of number arrays ({error})") from None
    if any(value.shape[:1] != (ref.stop - ref.start,) for value in rows.values()):
        raise _refusal(path, f"expected {ref.stop - ref.start} rows in every field")
    return rows


def _refusal(path: Path, problem: str) -> CheckpointError:
    way = "start again with another --run-dir; `latentmpc eval` still works, it needs no replay"
    return CheckpointError(f"replay segment {path} refused: {problem}; {way}")


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(path, error) from error
