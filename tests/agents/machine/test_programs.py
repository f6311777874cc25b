"""Programs are compiled once on a machine, and nobody else's are run."""

import os
import subprocess
import sys

import pytest

from agents.machine import programs

COMPILE = """
from agents.machine import programs
programs.keep_programs()
import jax
programs.write_whole()
with __import__("agents.runs.compile", fromlist=["counted"]).counted() as found:
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    print(jax.jit(lambda x: (x * 2 + 1).sum())(jax.numpy.arange(3.0)))
"""


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(programs.FOLDER)
    return tmp_path / "cache"


def compute() -> str:
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", COMPILE], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "9.0"
    return done.stderr


def test_a_program_is_compiled_once_and_a_damaged_one_costs_time_only(cache):
    compute()
    kept = {file: file.stat().st_mtime_ns for file in programs.programs_folder().iterdir()}
    assert kept
    assert not compute()
    found = {file: file.stat().st_mtime_ns for file in programs.programs_folder().iterdir()}
    assert found == kept
    for file in kept:
        file.write_bytes(file.read_bytes()[:-20])
    assert "cache" in compute()
    assert not compute()


def test_nothing_is_read_from_a_folder_that_others_can_write_to(cache):
    folder = programs.programs_folder()
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    programs.keep_programs()
    assert programs.FOLDER not in os.environ
    folder.chmod(0o700)
    folder.parent.chmod(0o777)
    programs.keep_programs()
    assert programs.FOLDER not in os.environ
    folder.parent.chmod(0o700)
    folder.rmdir()
    elsewhere = cache / "elsewhere"
    elsewhere.mkdir()
    folder.symlink_to(elsewhere)
    programs.keep_programs()
    assert programs.FOLDER not in os.environ


def test_a_folder_that_cannot_be_made_is_done_without(cache, monkeypatch):
    cache.write_text("a file")
    programs.keep_programs()
    assert programs.FOLDER not in os.environ


def test_the_folder_is_the_users_alone_whatever_the_umask(cache, monkeypatch):
    before = os.umask(0o002)
    try:
        programs.keep_programs()
    finally:
        os.umask(before)
    assert os.environ[programs.FOLDER] == str(programs.programs_folder())
    assert programs.programs_folder().stat().st_mode & 0o077 == 0
    monkeypatch.delenv(programs.FOLDER)


def test_what_the_user_chose_stays(cache, monkeypatch):
    monkeypatch.setenv(programs.FOLDER, "/somewhere")
    programs.keep_programs()
    assert os.environ[programs.FOLDER] == "/somewhere"


def test_old_programs_go_when_there_are_too_many(cache, monkeypatch):
    monkeypatch.setattr(programs, "MOST_BYTES", 25)
    folder = programs.programs_folder()
    folder.mkdir(parents=True)
    for age, name in enumerate("abcd"):
        (folder / name).write_bytes(b"0123456789")
        os.utime(folder / name, (1e9 - age, 1e9 - age))
    programs.keep_programs()
    assert sorted(file.name for file in folder.iterdir()) == ["a", "b"]
    monkeypatch.delenv(programs.FOLDER)
