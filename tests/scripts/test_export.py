"""`latentmpc export`: its flags and what it prints."""

import json

import pytest

from agents.deployment.bundle import files as bundle_files
from scripts import cli
from tests.soak import mutations


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return mutations.stored(tmp_path_factory.mktemp("stored") / "s", mutations.specimen())[0]


def test_export_writes_a_bundle_and_prints_its_digest(checkpoint, tmp_path, capsys):
    out = tmp_path / "bundle"
    command = ["export", str(checkpoint), "--out", str(out), "--calibration-episodes", "0"]
    assert cli.main(command) == 0
    said = capsys.readouterr()
    digest = bundle_files.read(out).digest
    assert said.out.splitlines()[-1] == f"digest {digest}"
    assert "programs for cpu and cuda, until" in said.out
    assert cli.main(command) == 2
    assert "never overwritten" in capsys.readouterr().err


def test_json_is_the_result_alone(checkpoint, tmp_path, capsys):
    out = tmp_path / "bundle"
    flags = ["--json", "--planner.num-samples=4", "--planner.num-elites=2"]
    where = [str(checkpoint), "--out", str(out), "--calibration-episodes=0"]
    assert cli.main(["export", *where, *flags]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["digest"] == bundle_files.read(out).digest
    assert set(result["files"]) == {f.name for f in out.iterdir()}


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        ([], 2, "which run?"),
        (["nowhere", "--out", "x"], 3, "nowhere is no directory"),
        (["."], 2, "where to?"),
        (
            [".", "--out", "x", "--calibration-episodes", "-1"],
            2,
            "calibration_episodes must lie in [0, 10000]",
        ),
        ([".", "--out", "x", "--planner.horizons", "2"], 2, "did you mean"),
    ],
)
def test_mistakes_are_one_line(argv, code, said, capsys):
    assert cli.main(["export", *argv]) == code
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_a_damaged_checkpoint_is_refused(checkpoint, tmp_path, capsys):
    config = checkpoint / "config.json"
    content = config.read_bytes()
    config.write_bytes(content + b" ")
    try:
        assert cli.main(["export", str(checkpoint), "--out", str(tmp_path / "b")]) == 3
    finally:
        config.write_bytes(content)
    assert "config.json" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()
