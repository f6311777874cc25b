"""The MuJoCo module, loaded on first use, and models of dm_control's suite."""

import copy
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from envs.spec import EnvError


def engine() -> Any:
    """`mujoco`; untyped, as its names come from compiled modules that declare none.

    A library for drawing that MUJOCO_GL names and that does not load is told by what draws.
    """
    try:
        import mujoco
    except ImportError:
        raise
    except Exception:  # of OpenGL's bindings, or no name that MuJoCo knows
        with without_drawing():
            import mujoco
    return mujoco


@contextmanager
def without_drawing() -> Iterator[None]:
    """While it lasts, what is imported loads no library for drawing."""
    before = os.environ.get("MUJOCO_GL")
    os.environ["MUJOCO_GL"] = "disabled"
    try:
        yield
    finally:
        del os.environ["MUJOCO_GL"]
        os.environ |= {"MUJOCO_GL": before} if before is not None else {}


@contextmanager
def quiet_mujoco() -> Iterator[None]:
    """Drop MuJoCo's warnings, which it would write to a file in the working directory.

    They are deprecation notes about XML that other packages ship, and unstable simulations,
    which its counters report as well.
    """
    mujoco = engine()
    handler = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda message: None)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(handler)


def compile_model(xml: str, assets: dict[str, bytes] | None = None) -> Any:
    """The model of an MJCF text, with the files that it includes by name."""
    with quiet_mujoco():
        return engine().MjModel.from_xml_string(xml, assets or {})


def suite_model(domain: str, xml: str = "") -> Any:
    """dm_control's model of a domain, without importing its Python (or any GL).

    Or that of `xml`, which may include the file of the domain. Raises EnvError if dm_control's
    model files are not installed.
    """
    return copy.copy(_compiled(domain, xml))


@cache
def _compiled(domain: str, xml: str) -> Any:
    """The model as its files have it: compiling its textures takes a tenth of a second."""
    from importlib.resources import files

    try:
        suite = files("dm_control") / "suite"
        parts = [f"common/{part}.xml" for part in ("materials", "skybox", "visual")]
        assets = {f"./{name}": (suite / name).read_bytes() for name in parts}
        assets[f"{domain}.xml"] = (suite / f"{domain}.xml").read_bytes()
    except OSError as error:
        raise EnvError(
            f"the model of domain {domain!r} is not readable ({error}); "
            "reinstall dm-control with `pip install dm-control`"
        ) from error
    return compile_model(xml or assets[f"{domain}.xml"].decode(), assets)
