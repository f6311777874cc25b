"""Collecting: determinism, resuming after a kill, policies, pictures, refusals."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from agents.data import collect as collecting
from agents.data import policies as collect_policies
from agents.data import simulate as collect_simulate
from agents.data.collect import collect
from agents.data.config import CollectConfig
from agents.data.dataset import Dataset
from agents.runs.config import ConfigError
from envs.native.env import make_native
from envs.spec import EnvError

SMALL = {"episodes": 5, "shard": 2, "steps": 12, "pixels": False}


def dataset(tmp_path, name="data", **changes):
    """A small dataset, collected and opened."""
    config = CollectConfig("reacher-easy", str(tmp_path / name), **{**SMALL, **changes})
    collect(config)
    return Dataset.open(config.out)


def content(folder):
    """Every file but the note of what was verified (which has times in it)."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != ".verified")
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def test_rows_are_what_the_simulator_did(tmp_path):
    data = dataset(tmp_path)
    assert [e.length for e in data.episodes] == [12] * 5
    assert [q.name for q in data.info.state][:2] == ["qpos:shoulder", "qpos:wrist"]
    env = make_native("reacher-easy", 1)
    for number in (0, 4):
        rows, episode = data.episode(number), data.episodes[number]
        obs, _ = env.reset(seed=[episode.seed])
        for t in range(12):
            np.testing.assert_array_equal(rows["obs"][t], obs[0].astype(np.float32))
            np.testing.assert_array_equal(rows["state"][t][:2], rows["obs"][t][:2])
            np.testing.assert_array_equal(rows["physics"][t], env.simulators.get_moments()[0])
            obs, reward, *_ = env.step(rows["action"][t][None])
            assert rows["reward"][t] == np.float32(reward[0])
        assert not rows["action"][12].any() and not rows["reward"][12]
        assert episode.ret == pytest.approx(rows["reward"].sum())


def test_the_result_is_a_function_of_the_settings(tmp_path):
    dataset(tmp_path, "a")
    dataset(tmp_path, "b")
    one, two = content(tmp_path / "a"), content(tmp_path / "b")
    assert one == two
    other = dataset(tmp_path, "c", seed=1)
    assert (other.arrays["action"] != Dataset.open(tmp_path / "a").arrays["action"]).any()


def test_episodes_do_not_depend_on_the_shards(tmp_path):
    one, two = dataset(tmp_path, "a"), dataset(tmp_path, "b", shard=5)
    for name, values in one.arrays.items():
        np.testing.assert_array_equal(values, two.arrays[name])


def test_what_is_finished_is_not_redone(tmp_path, monkeypatch):
    whole = dataset(tmp_path, "whole")
    calls = []
    simulate = collect_simulate.simulate

    def dying(config, episodes):
        calls.append(list(episodes))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return simulate(config, episodes)

    monkeypatch.setattr(collect_simulate, "simulate", dying)
    with pytest.raises(KeyboardInterrupt):
        dataset(tmp_path, "killed")
    with pytest.raises(ConfigError, match="the same `latentmpc collect` finishes it"):
        Dataset.open(tmp_path / "killed")
    with pytest.raises(ConfigError, match=r"steps is 13, but .* was begun with 12"):
        dataset(tmp_path, "killed", steps=13)
    dataset(tmp_path, "killed")
    assert calls == [[0, 1], [2, 3], [4], [4]]
    expected = content(whole.path)
    assert {**content(tmp_path / "killed"), "data.json": 0, "MANIFEST.json": 0} == {
        **expected,
        "data.json": 0,
        "MANIFEST.json": 0,
    }
    dataset(tmp_path, "killed")
    assert len(calls) == 4, "a finished dataset is left as it is"
    with pytest.raises(ConfigError, match="seed is 9"):
        dataset(tmp_path, "killed", seed=9)


@pytest.mark.slow
def test_killed_at_any_moment_and_started_again(tmp_path):
    """kill -9 while it simulates and renders; the result has the same bytes."""
    arguments = "collect reacher-easy --episodes 6 --shard 2 --steps 250 --jobs 2".split()
    command = [sys.executable, "-m", "scripts.cli", *arguments]
    folders = [tmp_path / "whole", tmp_path / "killed"]
    subprocess.run([*command, "--out", str(folders[0])], check=True, capture_output=True)
    again = [*command, "--out", str(folders[1])]
    for seconds in (1.5, 3.0, 4.5):
        process = subprocess.Popen(again, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(again, check=True, capture_output=True)
    one, two = map(content, folders)
    assert one == two
    assert Dataset.open(folders[1], full=True).arrays["pixels"].std() > 5


def test_pictures_are_those_of_the_film(tmp_path):
    from envs.native.recorded import OffscreenRenderer

    try:
        film = OffscreenRenderer("reacher-easy", 32)
    except EnvError as error:
        pytest.skip(f"no OpenGL here: {error}")
    data = dataset(tmp_path, episodes=2, steps=3, pixels=True, size=32, jobs=1)
    pixels, physics = data.arrays["pixels"], data.arrays["physics"]
    assert pixels.shape == (8, 32, 32, 3) and pixels.std() > 5
    np.testing.assert_array_equal(pixels[[1, 6]], film.pictures(physics[[1, 6]]))
    film.close()


def test_without_opengl_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "crayons")
    with pytest.raises(EnvError, match=r"MUJOCO_GL.*--no-pixels"):
        dataset(tmp_path, episodes=2, steps=2, pixels=True, size=16, jobs=1)


def test_other_simulators_are_recorded_with_what_they_show(tmp_path):
    config = CollectConfig("Pendulum-v1", str(tmp_path), episodes=3, steps=5, pixels=False)
    result = collect(config)
    data = Dataset.open(tmp_path)
    assert result["decisions"] == 15 and "physics" not in data.arrays
    assert {q.kind for q in data.info.state} == {"obs"}
    np.testing.assert_array_equal(data.arrays["state"], data.arrays["obs"])


def test_a_goal_task_records_what_it_achieves(tmp_path):
    config = CollectConfig(
        "two-room", str(tmp_path), episodes=3, steps=30, pixels=False, policy="scripted"
    )
    collect(config)
    data = Dataset.open(tmp_path)
    names = [q.name for q in data.info.state]
    state = data.arrays["state"]
    x, achieved = names.index("qpos:x"), names.index("achieved:x")
    np.testing.assert_array_equal(state[:, x], state[:, achieved])
    moved = [np.ptp(data.episode(i)["state"][:, x]) for i in range(3)]
    assert max(moved) > 0.1, "the script goes somewhere"


def test_a_broken_simulation_is_cut_off():
    moments = [{"obs": np.full((2, 1), t)} for t in range(4)]
    row = {"action": np.ones((2, 1)), "reward": np.ones(2), "terminated": np.zeros(2, bool)}
    marks = [([0, 0], [1, 1]), ([0, 1], [1, 1]), ([0, 0], [1, 0])]
    decisions = [
        {**row, "invalid": np.array(i, bool), "running": np.array(r, bool)} for i, r in marks
    ]
    whole, cut = collect_simulate.by_episode(moments, decisions)
    assert len(whole["obs"]) == 4 and not whole["invalid"]
    assert len(cut["obs"]) == 2 and cut["invalid"] and cut["reward"].tolist() == [1, 0]


def test_noise_has_the_statistics_it_is_named_for():
    rng = np.random.default_rng(0)
    for exponent in (0.0, 1.0, 2.0):
        x = np.stack([collect_policies.coloured(rng, (256, 1), exponent)[:, 0] for _ in range(800)])
        assert np.mean(x**2) == pytest.approx(1.0, rel=0.08)
        power = np.mean(np.abs(np.fft.rfft(x, axis=1)) ** 2, 0)[2:-1]
        slope = np.polyfit(np.log(np.fft.rfftfreq(256)[2:-1]), np.log(power), 1)[0]
        assert slope == pytest.approx(-exponent, abs=0.05)
    ou = collect_policies.ar1(rng, (4000, 8), 0.9)
    assert ou.std() == pytest.approx(1.0, abs=0.05)
    assert np.mean(ou[5:] * ou[:-5]) == pytest.approx(0.9**5, abs=0.05)


def test_correlated_random_actions_stay_uniform():
    rng = np.random.default_rng(1)
    x = collect_policies.correlated_uniform(rng, (4000, 6), 0.8)
    assert abs(x).max() <= 1
    assert np.histogram(x, 10, (-1, 1))[0] == pytest.approx(2400, rel=0.15)
    assert np.corrcoef(x[1:].ravel(), x[:-1].ravel())[0, 1] == pytest.approx(0.79, abs=0.04)


def test_settings_that_make_no_sense_are_refused():
    for changes, said in (
        ({"episodes": 0}, "episodes"),
        ({"correlation": 1.0}, "correlation"),
        ({"validation": 0.6, "test": 0.4}, "leave some for training"),
        ({"policy": "checkpoint"}, "--checkpoint RUN"),
        ({"checkpoint": "runs/x"}, "--checkpoint RUN"),
    ):
        with pytest.raises(ConfigError, match=said):
            CollectConfig("reacher-easy", **changes)


def test_a_task_without_a_script_says_so(tmp_path):
    with pytest.raises(ConfigError, match="reacher-easy has no scripted policy"):
        dataset(tmp_path, policy="scripted")


def test_the_verb_answers_with_json_and_exit_codes(tmp_path, capsys):
    from scripts.cli import main

    out = ["--out", str(tmp_path / "d"), "--episodes", "2", "--steps", "3", "--no-pixels"]
    assert main(["collect", "point_mass-easy", *out, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["decisions"] == 6
    assert main(["collect", "point_mass-esy", *out]) == 2
    assert main(["collect"]) == 2
    (tmp_path / "d" / "MANIFEST.json").write_text("{}")
    assert main(["collect", "point_mass-easy", *out]) == 3
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 3 and "did you mean point_mass-easy" in said[0]
    if os.geteuid():
        locked = tmp_path / "locked"
        locked.mkdir(mode=0o500)
        assert main(["collect", "point_mass-easy", "--out", str(locked / "x")]) == 4
    assert collecting.ELSEWHERE == ("out", "jobs")
