"""Rendering in processes of its own: what one of them does with one stretch of rows."""

import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from agents.data.writer import write_header
from agents.storage.files import created, open_own, storage_error
from envs.native.recorded import OffscreenRenderer
from envs.spec import EnvError

_HEADER = 128  # bytes of numpy's format 1.0 with a short header; checked by `pixel_file`
BACKENDS = ("egl", "osmesa")


def execute(job: dict[str, Any]) -> dict[str, Any]:
    """Worker: render rows [start, stop) of `physics` into the file of pixels, and sync it.

    Raises EnvError (no OpenGL, no such task), StorageError (disk full).
    """
    os.environ["MUJOCO_GL"] = os.environ["PYOPENGL_PLATFORM"] = job["gl"]
    os.environ.setdefault("LP_NUM_THREADS", "0")  # Mesa: one process draws in one thread
    film = _renderer(job["env_id"], job["size"])
    physics = np.load(job["physics"], mmap_mode="r", allow_pickle=False)
    path, row = Path(job["pixels"]), job["size"] ** 2 * 3
    frames = [film.picture(physics[i]) for i in range(job["start"], job["stop"])]
    data = np.stack(frames).tobytes()
    try:
        with open(open_own(path, os.O_RDWR), "r+b") as file:
            file.seek(_HEADER + job["start"] * row)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise storage_error(path, error) from error
    return {"rows": len(frames)}


_renderer = cache(OffscreenRenderer)  # one a process


def pixel_file(path: Path, rows: int, size: int) -> None:
    """An .npy file of uint8 [rows, size, size, 3] with its space reserved; kept when it is there.

    Raises StorageError when the disk is too small.
    """
    shape = (rows, size, size, 3)
    total = _HEADER + int(np.prod(shape))
    try:
        if not path.is_symlink() and path.exists() and path.stat().st_size == total:
            return
        with created(path) as file:
            write_header(file, np.dtype(np.uint8), shape)
            if file.tell() != _HEADER:
                raise EnvError(f"unexpected header of {file.tell()} bytes in {path}")
            file.flush()
            os.posix_fallocate(file.fileno(), 0, total)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise storage_error(path, error) from error
