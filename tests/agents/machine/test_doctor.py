"""Every check of the doctor, on machines made up for it."""

import shutil
import subprocess
import sys
from collections import namedtuple

import pytest

from agents.machine import doctor

REQUIRED = [
    "jax<2,>=1.2.3",
    "dm_control>=9.9",
    'old==1.0 ; python_version < "3"',
    'viser>=1 ; extra == "viewer"',
]


def pretend(monkeypatch, versions):
    """Make up what is required, and what is installed."""
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: REQUIRED)
    monkeypatch.setattr(doctor, "_installed", versions.get)


def test_what_is_required_here_is_compared(monkeypatch):
    pretend(monkeypatch, {"jax": "1.2.4", "dm_control": "9.9"})
    (finding,) = doctor.check_packages()
    assert (finding.status, finding.text) == ("ok", "all 2 as required")


def test_packages_that_differ_or_lack_say_what_to_type(monkeypatch):
    pretend(monkeypatch, {"jax": "1.2.2"})
    missing, other = doctor.check_packages()
    assert (missing.status, missing.text) == ("fail", "missing: dm_control")
    assert (other.status, other.text) == ("warn", "not as required: jax 1.2.2 (needs <2,>=1.2.3)")
    assert missing.fix == other.fix == f"{sys.executable} -m pip install --upgrade latentmpc"


def test_another_owner_of_an_import_name_fails(monkeypatch):
    owners = {"agents": ["latentmpc", "openai-agents"], "wm": ["latentmpc"]}
    monkeypatch.setattr(doctor.metadata, "packages_distributions", lambda: owners)
    (finding,) = doctor.check_import_names()
    assert finding.status == "fail"
    assert finding.text == "`import agents` is also owned by openai-agents"
    assert "pip uninstall openai-agents" in finding.fix
    monkeypatch.setattr(doctor.metadata, "packages_distributions", dict)
    assert doctor.check_import_names()[0].status == "ok"


@pytest.mark.parametrize(
    ("working", "chosen", "statuses", "fix"),
    [
        ({"egl"}, None, ["ok", "ok", "ok"], ""),
        ({"osmesa"}, None, ["warn", "ok", "ok"], "export MUJOCO_GL=osmesa"),
        ({"egl"}, "osmesa", ["ok", "warn", "ok"], "export MUJOCO_GL=egl"),
        (set(), None, ["warn", "warn", "warn"], "apt-get install libegl1"),
    ],
)
def test_rendering_is_fine_when_what_is_used_works(monkeypatch, working, chosen, statuses, fix):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    if chosen:
        monkeypatch.setenv("MUJOCO_GL", chosen)
    monkeypatch.setattr(doctor, "try_backend", lambda name: "" if name in working else "broken")
    findings = doctor.check_rendering()
    assert [finding.status for finding in findings] == statuses
    assert fix in next((finding.fix for finding in findings if finding.fix), "")


def test_a_backend_that_does_not_exist_says_why():
    assert "not-a-backend" in doctor.try_backend("not-a-backend")


def test_a_backend_that_hangs_is_given_up(monkeypatch):
    monkeypatch.setattr(doctor, "RENDER", "import time; time.sleep(60)")
    assert doctor.try_backend("egl", timeout=0.2) == "no answer in 0 s"


@pytest.mark.parametrize(("gib", "status"), [(100, "ok"), (2, "warn"), (0.1, "fail")])
def test_disk_space_decides(monkeypatch, tmp_path, gib, status):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(gib * doctor.GIB))
    (finding,) = doctor.check_disk(str(tmp_path / "not" / "yet"))
    assert finding.status == status
    assert str(tmp_path) in finding.text
    assert bool(finding.fix) == (status != "ok")


def test_devices_and_machine_are_reported():
    (devices,) = doctor.check_devices()
    assert devices.text.startswith("jax ")
    (machine,) = doctor.check_machine()
    assert "cores" in machine.text


def test_a_check_that_breaks_is_a_finding_not_a_crash(monkeypatch):
    def check_devices():
        raise OSError("no such thing\nat all")

    monkeypatch.setattr(doctor, "check_devices", check_devices)
    monkeypatch.setattr(doctor, "check_rendering", list)
    findings = {finding.name: finding for finding in doctor.examine()}
    assert findings["devices"].status == "warn"
    assert findings["devices"].text == "could not be checked: no such thing"


def test_the_rendering_probe_is_a_program():
    command = [sys.executable, "-c", f"compile({doctor.RENDER!r}, 'probe', 'exec')"]
    assert subprocess.run(command, check=False).returncode == 0
