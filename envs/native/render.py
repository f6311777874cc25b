"""Pictures of simulators, off screen. OpenGL is loaded by the first picture, not before."""

import importlib
import os
from typing import Any

import numpy as np

from envs.spec import EnvError
from envs.tasks.engine import engine

_BACKENDS = ("egl", "osmesa", "glfw")


class Camera:
    """An off-screen picture of fixed size of a model; `plain`: without shadows, mirrors and sky.

    The OpenGL back-end is the one named in MUJOCO_GL, or EGL when that is not set.

    Raises:
        EnvError: the picture is larger than the model's buffer, or OpenGL does not work here.
    """

    def __init__(self, model: Any, height: int, width: int, plain: bool = False) -> None:
        mujoco = engine()
        limits = model.vis.global_
        if not (0 < height <= limits.offheight and 0 < width <= limits.offwidth):
            raise EnvError(
                f"a picture of {height}x{width} does not fit the model's buffer; "
                f"expected at most {limits.offheight}x{limits.offwidth}"
            )
        self._gl = _gl_context(width, height)
        self._gl.make_current()
        self.shape = (height, width)
        self._scene = mujoco.MjvScene(model, maxgeom=10_000)
        self._option = mujoco.MjvOption()
        self._view = mujoco.MjvCamera()
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_150.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._rect = mujoco.MjrRect(0, 0, width, height)
        flags = mujoco.mjtRndFlag
        for flag in (flags.mjRND_SHADOW, flags.mjRND_REFLECTION, flags.mjRND_SKYBOX):
            if plain:
                self._scene.flags[flag.value] = 0

    def picture(self, model: Any, data: Any) -> np.ndarray:
        """Camera 0 (the free camera where there is none) on `data`, uint8 [H, W, 3]."""
        mujoco = engine()
        self._gl.make_current()
        if model.ncam:
            self._view.type = mujoco.mjtCamera.mjCAMERA_FIXED.value
            self._view.fixedcamid = 0
        else:
            mujoco.mjv_defaultFreeCamera(model, self._view)
        everything = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(model, data, self._option, None, self._view, everything, self._scene)
        mujoco.mjr_render(self._rect, self._scene, self._context)
        frame = np.empty((*self.shape, 3), np.uint8)
        mujoco.mjr_readPixels(frame, None, self._rect, self._context)
        return np.flipud(frame).copy()

    def close(self) -> None:
        """Give the OpenGL context back."""
        self._gl.make_current()  # else the objects of another camera's context are freed
        self._context.free()
        self._gl.free()


class Pictures:
    """Pictures of one model in any size; a camera is opened when the first of a size is taken."""

    def __init__(self) -> None:
        self._camera: Camera | None = None

    def take(self, model: Any, data: Any, height: int, width: int) -> np.ndarray:
        """As `Camera.picture`. Raises EnvError as `Camera` does."""
        if self._camera is not None and self._camera.shape != (height, width):
            self.close()
        if self._camera is None:
            self._camera = Camera(model, height, width)
        return self._camera.picture(model, data)

    def close(self) -> None:
        """Give OpenGL back, if a picture was taken."""
        if self._camera is not None:
            self._camera.close()
            self._camera = None


def _gl_context(width: int, height: int) -> Any:
    """An OpenGL context of the chosen back-end."""
    name = os.environ.get("MUJOCO_GL", "").lower().strip() or "egl"
    if name not in _BACKENDS:
        raise EnvError(f"MUJOCO_GL={name!r} cannot render; set MUJOCO_GL to one of {_BACKENDS}")
    try:
        return importlib.import_module(f"mujoco.{name}").GLContext(width, height)
    except Exception as error:  # back-ends raise ImportError, AttributeError, GLError, ...
        reason = " ".join(str(error).split()) or type(error).__name__
        raise EnvError(
            f"rendering with MUJOCO_GL={name} failed ({reason}); install its library "
            "(Debian: `apt install libegl1 libgl1`) or set MUJOCO_GL to egl, osmesa or glfw"
        ) from error
