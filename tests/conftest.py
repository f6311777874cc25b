"""Settings of every test: JAX on the CPU, and silent rank promotion is an error.

Nearly all the time of the tests is spent compiling. So programs are compiled with little
optimisation, and by the emitters that are twice as fast at it, unless XLA_FLAGS says otherwise
(`make test-slow` clears it, and repeats what promises equal bits), and once for all processes and
sessions of a checkout, in its folder .jax_cache, which may be deleted at any time.
"""

import ctypes
import gc
import os
import shutil
import signal
import tempfile
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_use_fusion_emitters=false",
)
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(Path(__file__).resolve().parents[1] / ".jax_cache")
if "PYTEST_XDIST_WORKER" not in os.environ:  # a worker uses what its controller made
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="latentmpc-tests-")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

import jax
import pytest
from jax._src.lru_cache import LRUCache

PROGRAMS = Path(os.environ["JAX_COMPILATION_CACHE_DIR"])
MOST_PROGRAMS = 1 << 30
"""Bytes."""


def put_whole(cache: LRUCache, key: str, value: bytes) -> None:
    """Keep a program under its name when all of it is written: workers read while others write."""
    name = cache.path / f"{key}-cache"
    part = cache.path / f"{key}-{os.getpid()}"
    part.write_bytes(value)
    part.replace(name)


LRUCache.put = put_whole
LIBC = ctypes.CDLL(None)


@pytest.fixture(autouse=True, scope="session")
def strict_jax():
    """A sum of shapes [3] and [2, 3] is a mistake in our code, not a broadcast."""
    jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(autouse=True, scope="module")
def programs_given_back():
    """Compiled programs take gigabytes over a session, and hardly any serves two files."""
    yield
    jax.clear_caches()
    gc.collect()
    if hasattr(LIBC, "malloc_trim"):  # glibc keeps what the compiler freed
        LIBC.malloc_trim(0)


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


def pytest_unconfigure():
    """Programs that were not read for the longest time go when there are too many."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    shutil.rmtree(os.environ["XDG_CACHE_HOME"], ignore_errors=True)
    kept = 0
    for file in sorted(PROGRAMS.glob("*"), key=lambda file: -file.stat().st_atime):
        kept += file.stat().st_size
        if kept > MOST_PROGRAMS:
            file.unlink(missing_ok=True)
