"""Writing datasets: shards of episodes first, then one file an array, then the manifest.

    DATA/work/  settings.json  shards/000003  (removed when the dataset is complete)

A shard is written in one step under its final name, so that whatever is killed, what is there is
whole; arrays are assembled from shards in their order and do not depend on who wrote them when.
"""

import contextlib
import hashlib
import io
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from agents.data import files as files
from agents.data.dataset import Episode, Info
from agents.runs.directory import plain
from agents.storage import npy as npy_files
from agents.storage import sealed
from agents.storage.files import (
    CheckpointError,
    StorageError,
    created,
    own_directory,
    storage_error,
    write_atomically,
)

Rows = dict[str, np.ndarray]
WORK = "work"
MAX_SHARD = 1 << 36
_DIGEST = 32  # bytes of SHA-256 before the content of a shard


def shard_path(folder: Path, number: int) -> Path:
    """Where a shard is."""
    return folder / WORK / "shards" / f"{number:06d}"


def write_shard(folder: Path, number: int, episodes: Sequence[Rows]) -> None:
    """Store episodes (each field [L + 1, ...], and `invalid` []). Raises StorageError."""
    lengths = np.array([len(e["action"]) - 1 for e in episodes], np.int64)
    arrays = {"lengths": lengths, "invalid": np.array([bool(e["invalid"]) for e in episodes])}
    for name in episodes[0]:
        if name != "invalid":
            arrays[f"rows/{name}"] = np.concatenate([e[name] for e in episodes])
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # pyright: ignore[reportArgumentType]
    path, data = shard_path(folder, number), buffer.getvalue()
    own_directory(path.parent.parent)
    own_directory(path.parent)
    write_atomically(path, hashlib.sha256(data).digest() + data)


def read_shard(folder: Path, number: int) -> Rows | None:
    """A finished shard; None when it is not there or was damaged."""
    path = shard_path(folder, number)
    try:
        raw = sealed.read(folder, path.relative_to(folder).as_posix(), MAX_SHARD)
        digest, data = raw[:_DIGEST], raw[_DIGEST:]
        return npy_files.archive(data) if hashlib.sha256(data).digest() == digest else None
    except (CheckpointError, ValueError):
        return None


def require_space(folder: Path, needed: int) -> None:
    """Raise StorageError unless `needed` bytes are free."""
    with contextlib.suppress(OSError):
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise StorageError(
                f"{folder} needs {needed / 1e6:.0f} MB, {free / 1e6:.0f} MB are free: free some "
                "space, choose another --out, or record fewer episodes or --no-pixels"
            )


def assemble(folder: Path, shards: int) -> tuple[list[int], list[bool]]:
    """Write every array from the shards; lengths and invalid marks of the episodes in them.

    Raises StorageError, DatasetError when a shard is gone.
    """
    lengths: list[int] = []
    invalid: list[bool] = []
    for shard in _shards(folder, shards):
        lengths += shard["lengths"].tolist()
        invalid += shard["invalid"].tolist()
        names = [name for name in shard if name.startswith("rows/")]
    own_directory(folder / files.ARRAYS)
    for name in names:
        parts = (shard[name] for shard in _shards(folder, shards))
        write_array(folder / files.ARRAYS / f"{name[5:]}.npy", parts, sum(lengths) + len(lengths))
    return lengths, invalid


def episodes(
    folder: Path,
    lengths: Sequence[int],
    invalid: Sequence[bool],
    splits: Sequence[str],
    seeds: Sequence[int],
    policy: str,
) -> tuple[Episode, ...]:
    """The entries of data.json for the episodes whose rows were assembled."""
    reward, terminated = (
        np.load(folder / files.ARRAYS / f"{name}.npy", mmap_mode="r")
        for name in ("reward", "terminated")
    )
    found, start = [], 0
    for length, broken, split, seed in zip(lengths, invalid, splits, seeds, strict=True):
        rows = slice(start, start + length + 1)
        ret = float(reward[rows].sum(dtype=np.float64))
        ended = bool(terminated[rows].any())
        found.append(Episode(start, length, seed, split, policy, ret, ended, broken))
        start = rows.stop
    return tuple(found)


def _shards(folder: Path, count: int) -> Iterator[Rows]:
    for number in range(count):
        if (shard := read_shard(folder, number)) is None:
            raise files.DatasetError(
                f"{shard_path(folder, number)} is missing or damaged: the same command makes it "
                "again"
            )
        yield shard


def write_header(file: IO[bytes], dtype: np.dtype, shape: tuple[int, ...]) -> None:
    """The header of an .npy file whose data follows row by row."""
    descr = npy.dtype_to_descr(dtype)
    npy.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})


def write_array(path: Path, parts: Iterator[np.ndarray], rows: int) -> None:
    """Concatenate parts into an .npy file of `rows` rows. Raises StorageError."""
    temporary = path.with_name(f".tmp-{path.name}")
    try:
        with created(temporary) as file:
            for number, part in enumerate(parts):
                if number == 0:
                    write_header(file, part.dtype, (rows, *part.shape[1:]))
                file.write(np.ascontiguousarray(part).tobytes())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise storage_error(path, error) from error


def finish(folder: Path, info: Info) -> None:
    """Write data.json and the manifest, and remove the work. Raises StorageError."""
    data = json.dumps(plain(info.to_json()), indent=1, sort_keys=True).encode()
    write_atomically(folder / files.DATA, data)
    try:
        files.write_manifest(folder)
    except OSError as error:
        raise storage_error(folder, error) from error
    shutil.rmtree(folder / WORK, ignore_errors=True)
