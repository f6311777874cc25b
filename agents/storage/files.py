"""Files that survive a kill or a power cut: write, sync, hash, lock, and say what went wrong.

A file is written under another name, synced, then renamed, so that a reader finds the old
content or the new, never a part. Imports no jax.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

MOST_SAID = 1500
"""Characters of a message."""


class CheckpointError(RuntimeError):
    """Stored data that must not be used; shown as one line, however long what is stored."""

    exit_code = 3

    def __str__(self) -> str:
        text = super().__str__()
        return text if len(text) <= MOST_SAID else f"{text[: MOST_SAID - 3]}..."


class StorageError(RuntimeError):
    """A disk or directory that cannot be used; shown as one line."""

    exit_code = 4


def require_directory(path: Path | str, wanted: str) -> None:
    """Raise CheckpointError where `path` is no directory; `wanted` says what to give instead."""
    if not os.path.isdir(path):
        raise CheckpointError(f"{path} is no directory: give {wanted}")


def storage_error(path: Path, error: Exception, note: str = "") -> StorageError | CheckpointError:
    """One line for a failed write or read at `path`: the cause, the free space and the way out.

    A folder where a file belongs is a fault of what is stored there.
    """
    if isinstance(error, IsADirectoryError):
        return CheckpointError(f"{path} is a folder, expected a file: move it away")
    cause = getattr(error, "strerror", None) or (str(error).splitlines() or [repr(error)])[0]
    parts = [f"cannot use {path}: {cause} ({free_space(path)})"]
    if note:
        parts.append(note)
    parts.append("free some space or choose another directory, then type the same command again")
    return StorageError("; ".join(parts))


def free_space(path: Path) -> str:
    """Free space of the disk that holds `path` (or its nearest existing parent)."""
    for place in (path, *path.absolute().parents):
        with contextlib.suppress(OSError):
            disk = os.statvfs(place)
            return f"{disk.f_bavail * disk.f_frsize / 1e6:.1f} MB free"
    return "free space unknown"


def sha256_bytes(data: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path, *, sync: bool = False) -> tuple[str, int]:
    """(SHA-256 in hex, size in bytes) of a file; `sync` also forces it to the disk."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        if sync:
            os.fsync(file.fileno())
        return digest.hexdigest(), file.tell()


def sync_directory(path: Path) -> None:
    """Force a directory's entries (creations, renames) to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def created(path: Path) -> IO[bytes]:
    """A new file to write into; whatever had its name goes, so no link is written through."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return open(os.open(path, flags, 0o666), "wb")


def open_own(path: Path, flags: int) -> int:
    """Descriptor of a file that is kept and written again, made if need be.

    Raises CheckpointError when it is a link, has another name or is no regular file: writing would
    change something elsewhere. Raises OSError.
    """
    try:
        more = os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(path, flags | more, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise _not_own(path) from None
        raise
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        os.close(descriptor)
        raise _not_own(path)
    return descriptor


def own_directory(path: Path, mode: int = 0o777) -> Path:
    """`path`, a directory in a folder of ours, made if need be (its own mode, less the umask).

    Raises CheckpointError when it is a link, StorageError.
    """
    refuse_link(path)
    return made_directory(path, mode)


def made_directory(path: Path, mode: int = 0o777) -> Path:
    """`path`, a directory that the user names (it may be a link), made if need be.

    Raises StorageError.
    """
    try:
        path.mkdir(mode, parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(path, error) from error
    return path


def refuse_link(path: Path) -> None:
    """Raise CheckpointError where `path` is a link."""
    if path.is_symlink():
        raise _not_own(path)


def _not_own(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path} is a link or no regular file: nothing is written through it, remove it first"
    )


def write_synced(path: Path, data: bytes) -> None:
    """Write a new file and force it to the disk; one of that name is replaced, not followed."""
    with created(path) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file in one step. Raises StorageError; the old content then stands."""
    temporary = path.with_name(f".tmp-{path.name}")
    try:
        write_synced(temporary, data)
        os.replace(temporary, path)
        sync_directory(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise storage_error(path, error) from error


@contextlib.contextmanager
def locked_directory(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold a directory's advisory lock; yields whether it was got.

    The kernel lets go of it when the process ends, however it ends. File systems without locks
    yield False.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            got = True
        except OSError:
            got = False
        yield got
    finally:
        os.close(descriptor)
