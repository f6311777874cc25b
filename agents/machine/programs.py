"""Compiled programs are kept between commands, and memory between calls of them.

Without this every command compiles again, for half a minute and more, what the one before had
compiled. Nothing here imports jax: it reads the environment when it is imported.
"""

import contextlib
import ctypes
import os
import platform
import re
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from agents.storage.files import (
    CheckpointError,
    StorageError,
    own_directory,
    sha256_bytes,
    write_atomically,
)

MOST_BYTES = 1 << 30
SHORTEST = "0.2"
"""Seconds that a program must take to compile to be kept."""
FOLDER = "JAX_COMPILATION_CACHE_DIR"


def keep_programs() -> None:
    """Let jax keep compiled programs in the user's cache folder, at most MOST_BYTES of them.

    What is read from there is run, so the folder is one that nobody else can write to. A folder
    that the user chose for jax stays; where there can be none, programs are compiled anew.
    """
    if os.environ.get(FOLDER):
        return
    with contextlib.suppress(OSError, StorageError, CheckpointError):
        folder = programs_folder()
        for part in (folder.parents[1], folder.parent, folder):
            own_directory(part, mode=0o700)
            found = part.lstat()
            if found.st_uid != os.getuid() or found.st_mode & 0o022:
                return
        _drop_oldest(folder)
        os.environ[FOLDER] = str(folder)
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", SHORTEST)


def programs_folder() -> Path:
    """Where programs of these versions for this processor are."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    made_for = " ".join([version("jaxlib"), platform.machine(), _processor()])
    return Path(cache, "latentmpc", "programs", sha256_bytes(made_for.encode())[:16])


def write_whole() -> None:
    """Let jax write programs aside and rename them, over one that cannot be read.

    A process that was killed would leave a part, which jax neither runs nor replaces. Imports jax.
    """
    with contextlib.suppress(ImportError, AttributeError):
        from jax._src.lru_cache import LRUCache

        LRUCache.put = _put


def keep_memory() -> None:
    """Let glibc keep the memory of a program for its next call, in place of returning it.

    XLA allocates all temporaries anew at each call; above 32 MB the system would map, clear and
    unmap them, a third of an update's time. Elsewhere this does nothing.
    """
    if not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc":
        return
    trim_threshold, mmap_max = -1, -4
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(mmap_max, 0)
    mallopt(trim_threshold, 2**31 - 1)


def _put(self: Any, key: str, value: bytes) -> None:
    name = Path(str(self.path), f"{key}-cache")
    write_atomically(name, value)


def _processor() -> str:
    """What its programs depend on: the name and the features of the first core."""
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return platform.processor()
    return " ".join(re.findall(r"^(?:model name|flags|Features)\s*:\s*(.*)$", first, re.MULTILINE))


def _drop_oldest(folder: Path) -> None:
    """Delete what was not read for the longest time, of all versions, beyond MOST_BYTES."""
    kept = 0
    for file in sorted(folder.parent.glob("*/*"), key=lambda file: -file.stat().st_atime):
        kept += file.stat().st_size
        if kept > MOST_BYTES:
            file.unlink(missing_ok=True)
