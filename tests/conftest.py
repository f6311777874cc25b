"""Settings of every test: JAX on the CPU, and silent rank promotion is an error."""

import os
import shutil
import signal
import tempfile

os.environ["JAX_PLATFORMS"] = "cpu"
# Many tests build the same small programs anew, some in processes of their own: compile them once.
os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="latentmpc-tests-")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"

import jax
import pytest


@pytest.fixture(autouse=True, scope="session")
def strict_jax():
    """A sum of shapes [3] and [2, 3] is a mistake in our code, not a broadcast."""
    jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(autouse=True, scope="session")
def compilations_removed():
    """The programs of this session are not kept."""
    yield
    shutil.rmtree(os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)


@pytest.fixture(scope="session")
def empty_folder(tmp_path_factory):
    """A working folder for the whole session."""
    return tmp_path_factory.mktemp("cwd")


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, empty_folder):
    """No test depends on the working folder, nor litters it (MuJoCo writes MUJOCO_LOG.TXT)."""
    monkeypatch.chdir(empty_folder)


def pytest_configure():
    """A shell's background job ignores SIGINT, and so would every process that tests interrupt."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
