"""Pictures of recorded physics, in processes of their own: what one does with one stretch of rows.

Shadows, reflections, sky and multi-sampling cost nearly all of software rendering; without them a
picture takes about a millisecond. Edges are smoothed by drawing at twice the size.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

from envs.render import Camera
from envs.simulators import Simulators
from envs.spec import EnvError
from envs.tasks import TASKS, load_model
from envs.tasks.engine import engine
from wm.durable import storage_error

_HEADER = 128  # numpy's format 1.0 with a short header; checked by `pixel_file`
_FINER = 2
BACKENDS = ("egl", "osmesa")


class Film:
    """Pictures of a native task from rows of physics, uint8 [size, size, 3]."""

    def __init__(self, env_id: str, size: int, edit: Any = None):
        """`edit(model)` may change what it looks like or weighs, before anything is made of it.

        Raises EnvError when OpenGL does not work here.
        """
        mujoco = engine()
        definition = TASKS[env_id]
        self.model = load_model(definition.domain)
        self.task = definition.make(self.model)
        plain_looks(self.model, size)
        if edit is not None:
            edit(self.model)
        self.data = mujoco.MjData(self.model)
        self._kind = mujoco.mjtState.mjSTATE_INTEGRATION.value
        self._state = mujoco.mj_stateSize(self.model, self._kind)
        self._size = size
        self._camera = _FastCamera(self.model, size * _FINER, size * _FINER)

    def put(self, moment: np.ndarray) -> None:
        """Go to a row of `Simulators.get_moments`."""
        mujoco = engine()
        mujoco.mj_setState(self.model, self.data, moment[: self._state], self._kind)
        rest = moment[self._state :]
        for name in self.task.model_fields:
            field = getattr(self.model, name)
            field[:] = rest[: field.size].reshape(field.shape)
            rest = rest[field.size :]
        mujoco.mj_forward(self.model, self.data)

    def picture(self, moment: np.ndarray) -> np.ndarray:
        """The view at a row of physics."""
        self.put(moment)
        fine = self._camera.picture(self.model, self.data).astype(np.uint16)
        size, n = self._size, _FINER
        return (fine.reshape(size, n, size, n, 3).sum((1, 3)) // n**2).astype(np.uint8)

    def close(self) -> None:
        """Give OpenGL back."""
        self._camera.close()


class _FastCamera(Camera):
    """Without what a learner does not need to see."""

    def __init__(self, model: Any, height: int, width: int) -> None:
        super().__init__(model, height, width)
        flags = engine().mjtRndFlag
        for flag in (flags.mjRND_SHADOW, flags.mjRND_REFLECTION, flags.mjRND_SKYBOX):
            self._scene.flags[flag.value] = 0


def plain_looks(model: Any, size: int) -> None:
    """Turn off, in a model, what makes pictures slow."""
    model.light_castshadow[:] = 0
    model.mat_reflectance[:] = 0
    model.vis.quality.offsamples = 0
    model.vis.global_.offwidth = model.vis.global_.offheight = size * _FINER


def execute(point: dict[str, Any]) -> dict[str, Any]:
    """Worker: render rows [start, stop) of `physics` into the file of pixels, and sync it.

    Raises EnvError (no OpenGL, no such task), StorageError (disk full).
    """
    os.environ["MUJOCO_GL"] = os.environ["PYOPENGL_PLATFORM"] = point["gl"]
    film = _film(point["env_id"], point["size"])
    physics = np.load(point["physics"], mmap_mode="r", allow_pickle=False)
    path, row = Path(point["pixels"]), point["size"] ** 2 * 3
    frames = [film.picture(physics[i]) for i in range(point["start"], point["stop"])]
    data = np.stack(frames).tobytes()
    try:
        with open(path, "r+b") as file:
            file.seek(_HEADER + point["start"] * row)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise storage_error(path, error) from error
    return {"rows": len(frames)}


_FILMS: dict[tuple[str, int], Film] = {}


def _film(env_id: str, size: int) -> Film:
    """The film of this process, made once."""
    if (env_id, size) not in _FILMS:
        _FILMS[env_id, size] = Film(env_id, size)
    return _FILMS[env_id, size]


def pixel_file(path: Path, rows: int, size: int) -> None:
    """An .npy file of uint8 [rows, size, size, 3] with its space reserved; kept when it is there.

    Raises StorageError when the disk is too small.
    """
    from numpy.lib import format as npy

    shape = (rows, size, size, 3)
    total = _HEADER + int(np.prod(shape))
    try:
        if path.exists() and path.stat().st_size == total:
            return
        with open(path, "wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            npy.write_array_header_1_0(file, header)
            if file.tell() != _HEADER:
                raise EnvError(f"unexpected header of {file.tell()} bytes in {path}")
            file.flush()
            os.posix_fallocate(file.fileno(), 0, total)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise storage_error(path, error) from error


def rerenderable(env: Any) -> bool:
    """Whether an environment's pictures can be made later, from its physics."""
    return isinstance(getattr(env, "simulators", None), Simulators)
