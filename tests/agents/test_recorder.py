"""A recording replays to the last bit, whatever happened; what was changed since is told."""

import json

import numpy as np
import pytest

from agents import replay_run
from agents.config import ConfigError
from agents.controller import Controller
from agents.recorder import Recorder
from agents.replay_run import RecordingError
from agents.safety_config import SafetyConfig

PERIOD = 0.02


def fly(controller, recorder, ticks, faults=(), begin=0):
    """Ticks with made-up observations; those in `faults` see something useless."""
    rng = np.random.default_rng(begin)
    for tick in range(begin, begin + ticks):
        obs = rng.normal(size=5) if tick % 2 else rng.normal(size=5).astype(np.float32)
        if tick in faults:
            obs = [None, np.full(5, np.nan), np.zeros(3), "text"][tick % 4]
        recorder.before(controller)
        seed = 7 if tick % 40 == 0 else -1
        if seed >= 0:
            controller.reset(seed)
        now, stamp = 1.0 + tick * PERIOD, 1.0 + tick * PERIOD - 0.001
        action = controller.act(obs, stamp, tick, now=now)
        recorder.after(controller, now, (obs, stamp, tick), seed, action, 0.0005)


def recorded(run, path, ticks, *, seconds=2.0, faults=(), mode="plan", safety=None):
    controller = Controller.load(run, mode=mode, seed=7, safety=safety).warmup()
    recorder = Recorder(controller.contract, seconds)
    fly(controller, recorder, ticks, faults)
    return recorder, recorder.dump(path, controller, str(run))


def again(run, path):
    recording = replay_run.load(path)
    return recording, replay_run.replay(recording, replay_run.controller_for(recording, str(run)))


@pytest.mark.exact
@pytest.mark.parametrize("mode", ["plan", "prior", "auto"])
def test_replays_to_the_last_bit(tiny_run, tmp_path, mode):
    """Plans with warm starts, through holds and a fallback, from the first tick on."""
    safety = SafetyConfig(fallback="prior", stop_after=50)
    recorder, path = recorded(
        tiny_run, tmp_path / "r", 60, faults={20, 21, *range(30, 36)}, mode=mode, safety=safety
    )
    assert recorder.reason.startswith("fallback after")
    recording, result = again(tiny_run, path)
    assert result["ticks"] == 60
    assert (result["identical"], result["difference"]) == (True, None)
    sources = set(recording.columns["source"].tolist())
    assert len(sources) >= 3, "the recording holds more than regular ticks"


def test_the_ring_keeps_the_last_seconds(tiny_run, tmp_path):
    """What is older goes; the rest starts in the middle of an episode and still replays."""
    recorder, path = recorded(tiny_run, tmp_path / "r", 310, seconds=1.0)
    recording, result = again(tiny_run, path)
    assert result["identical"]
    assert 50 <= result["ticks"] <= 65
    assert recording.about["first_tick"] == 310 - result["ticks"]
    assert recording.columns["reset_seed"][0] == -1
    assert recording.columns["sequence"][-1] == 309
    assert recorder.reason == "" and recording.about["reason"] == "asked for"


def test_a_fault_freezes_the_recording_a_second_later(tiny_run, tmp_path):
    """The stop stays in it however long the robot stands still afterwards."""
    recorder, path = recorded(tiny_run, tmp_path / "r", 400, faults=range(200, 212))
    assert recorder.frozen
    recording, result = again(tiny_run, path)
    assert result["identical"]
    assert recording.columns["sequence"][-1] == 202 + 50
    assert recording.about["reason"] == recorder.reason == "fallback after shape"


def test_the_first_difference_is_told(tiny_run, tmp_path):
    """A bit that is not the same: which tick, what, recorded and replayed."""
    _, path = recorded(tiny_run, tmp_path / "r", 30)
    recording = replay_run.load(path)
    recording.columns["action"][17, 0] = np.nextafter(recording.columns["action"][17, 0], 2)
    result = replay_run.replay(recording, replay_run.controller_for(recording, str(tiny_run)))
    assert not result["identical"]
    found = result["difference"]
    assert (found["tick"], found["what"]) == (17, "action")
    assert found["recorded"] != found["replayed"]
    json.dumps(result)


def test_another_models_recording_is_refused(tiny_run, tmp_path):
    """By the digest of the parameters."""
    _, path = recorded(tiny_run, tmp_path / "r", 5)
    recording = replay_run.load(path)
    recording.about["params_digest"] = "0" * 64
    with pytest.raises(ConfigError, match="give the bundle that was running"):
        replay_run.controller_for(recording, str(tiny_run))


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "extra"])
def test_damage_is_found(tiny_run, tmp_path, damage):
    """One line that names the file."""
    _, path = recorded(tiny_run, tmp_path / "r", 5)
    file = path / "columns" / "obs.npy"
    data = bytearray(file.read_bytes())
    if damage == "flip":
        data[-3] ^= 1
        file.write_bytes(data)
    elif damage == "truncate":
        file.write_bytes(data[:-4])
    elif damage == "delete":
        file.unlink()
    else:
        (path / "columns" / "more.npy").write_bytes(data)
    with pytest.raises(RecordingError, match=r"columns/(obs|more).npy"):
        replay_run.load(path)


def test_a_folder_that_is_no_recording(tmp_path):
    """Said so."""
    with pytest.raises(ConfigError, match="is no recording"):
        replay_run.load(tmp_path)
