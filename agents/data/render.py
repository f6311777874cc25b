"""Rendering in processes of its own: what one of them does with one stretch of rows."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from agents.storage.files import created, open_own, storage_error
from envs.native.recorded import OffscreenRenderer
from envs.spec import EnvError

_HEADER = 128  # bytes of numpy's format 1.0 with a short header; checked by `pixel_file`
BACKENDS = ("egl", "osmesa")


def execute(point: dict[str, Any]) -> dict[str, Any]:
    """Worker: render rows [start, stop) of `physics` into the file of pixels, and sync it.

    Raises EnvError (no OpenGL, no such task), StorageError (disk full).
    """
    os.environ["MUJOCO_GL"] = os.environ["PYOPENGL_PLATFORM"] = point["gl"]
    os.environ.setdefault("LP_NUM_THREADS", "0")  # Mesa: one process draws in one thread
    film = _film(point["env_id"], point["size"])
    physics = np.load(point["physics"], mmap_mode="r", allow_pickle=False)
    path, row = Path(point["pixels"]), point["size"] ** 2 * 3
    frames = [film.picture(physics[i]) for i in range(point["start"], point["stop"])]
    data = np.stack(frames).tobytes()
    try:
        with open(open_own(path, os.O_RDWR), "r+b") as file:
            file.seek(_HEADER + point["start"] * row)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise storage_error(path, error) from error
    return {"rows": len(frames)}


_FILMS: dict[tuple[str, int], OffscreenRenderer] = {}


def _film(env_id: str, size: int) -> OffscreenRenderer:
    """The film of this process, made once."""
    if (env_id, size) not in _FILMS:
        _FILMS[env_id, size] = OffscreenRenderer(env_id, size)
    return _FILMS[env_id, size]


def pixel_file(path: Path, rows: int, size: int) -> None:
    """An .npy file of uint8 [rows, size, size, 3] with its space reserved; kept when it is there.

    Raises StorageError when the disk is too small.
    """
    from numpy.lib import format as npy

    shape = (rows, size, size, 3)
    total = _HEADER + int(np.prod(shape))
    try:
        if not path.is_symlink() and path.exists() and path.stat().st_size == total:
            return
        with created(path) as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            npy.write_array_header_1_0(file, header)
            if file.tell() != _HEADER:
                raise EnvError(f"unexpected header of {file.tell()} bytes in {path}")
            file.flush()
            os.posix_fallocate(file.fileno(), 0, total)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise storage_error(path, error) from error
