"""A recording replays to the last bit, whatever happened; what was changed since is told."""

import json
import time
from pathlib import Path

import numpy as np
import pytest

from agents.deployment.controller import Controller
from agents.deployment.guard.config import SafetyConfig
from agents.deployment.guard.safety import FAULTS
from agents.deployment.realtime import replay as replay_run
from agents.deployment.realtime.fault_recordings import FaultRecordings
from agents.deployment.realtime.recorder import SOURCES, Recorder
from agents.deployment.realtime.replay import RecordingError
from agents.runs.config import ConfigError
from agents.storage import manifest

pytestmark = pytest.mark.usefixtures("traced_once")

PERIOD = 0.02


def fly(controller, recorder, ticks, faults=(), begin=0, deadlines=(None,), huge=()):
    """Ticks with made-up observations; those in `faults` see something useless, in `huge` 1e20."""
    rng = np.random.default_rng(begin)
    for tick in range(begin, begin + ticks):
        obs = rng.normal(size=5) if tick % 2 else rng.normal(size=5).astype(np.float32)
        if tick in faults:
            obs = [None, np.full(5, np.nan), np.zeros(3), "text"][tick % 4]
        if tick in huge:
            obs = np.full(5, 1e20)
        recorder.before(controller)
        seed = 7 if tick % 40 == 0 else -1
        if seed >= 0:
            controller.reset(seed)
        now, stamp = 1.0 + tick * PERIOD, 1.0 + tick * PERIOD - 0.001
        budget = deadlines[tick % len(deadlines)]
        action = controller.act(obs, stamp, tick, now=now, deadline_ms=budget)
        recorder.after(controller, now, (obs, stamp, tick), seed, action, 0.0005)


def wait_for(condition):
    """Until another thread is that far."""
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it never came")


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


@pytest.mark.parametrize("old", [False, True])
def test_ticks_without_a_plan_replay(tiny_run, tmp_path, old):
    """By name in the recording; one of before that fault had a name replays as it was."""
    controller = Controller.load(tiny_run, mode="plan", seed=7).warmup()
    controller.guard.known -= {"no_plan"} if old else set()
    recorder = Recorder(controller.contract, 2.0)
    fly(controller, recorder, 20, huge=range(5, 10))
    path = recorder.dump(tmp_path / "r", controller, str(tiny_run))
    if old:
        about = json.loads((path / "recording.json").read_text())
        del about["faults"]
        (path / "recording.json").write_text(json.dumps(about))
        manifest.write(path, 0)
    recording, result = again(tiny_run, path)
    assert (result["identical"], result["difference"]) == (True, None)
    said = recording.columns["faults"] & 1 << FAULTS.index("no_plan")
    assert said.astype(bool).sum() == (0 if old else 5)
    plans = recording.columns["source"] == SOURCES.index("plan")
    assert plans[5:10].all() if old else not plans[5:10].any()


class Timer:
    """Time passes only in programs: 4 ms the first iteration, 3 the second, 1 the prior."""

    def __init__(self, controller):
        self.now, cost = 0.0, {"first": 0.004, "more/12": 0.003, "watch": 0.001}
        policy, planner = controller.policy, controller.policy.anytime
        programs = planner.programs

        def timed(name):
            def run(*arguments):
                self.now += cost[name]
                return programs[name](*arguments)

            return run

        planner.programs = {name: timed(name) for name in programs}
        policy.timer = planner.timer = lambda: self.now


@pytest.mark.exact
def test_how_far_mode_auto_came_is_in_the_recording(tiny_run, tmp_path):
    """Deadlines that hold two iterations, one, the prior, nothing: replayed with all the time in
    the world, and with none, it decides as it did."""
    controller = Controller.load(tiny_run, mode="auto", seed=7)
    Timer(controller)
    controller.warmup()
    controller.policy.anytime.expected["rest"] = 0.0
    recorder, deadlines = Recorder(controller.contract, 4.0), (9, 4.5, 2, 0.1, 2, 2, 9, 0.1, 9)
    fly(controller, recorder, 90, {20, 21, *range(30, 36)}, deadlines=deadlines)
    path = recorder.dump(tmp_path / "auto", controller, str(tiny_run))
    recording = replay_run.load(path)
    assert set(recording.columns["work"].tolist()) == {-1, 0, 1, 2}
    sources = {SOURCES[i] for i in set(recording.columns["source"].tolist())}
    assert sources == {"plan", "shifted", "prior", "hold", "fallback"}
    for deadline_ms in (1e5, 1e-6):
        recording.about["deadline_ms"] = deadline_ms
        fresh = replay_run.controller_for(recording, str(tiny_run))
        result = replay_run.replay(recording, fresh)
        assert (result["difference"], result["ticks"]) == (None, 90)
    assert recording.columns["work"][9] == 2
    recording.columns["work"][9] = 1
    fresh = replay_run.controller_for(recording, str(tiny_run))
    assert replay_run.replay(recording, fresh)["difference"]["tick"] == 9


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


@pytest.mark.exact
def test_every_fault_has_its_recording(tiny_run, tmp_path):
    """A second after each; recording goes on, the last ones stay, each replays; none is lost."""
    runs = [range(20, 24), range(120, 124), range(130, 133), range(300, 303), range(380, 395)]
    controller = Controller.load(tiny_run, "prior", seed=7).warmup()
    (tmp_path / "fault-0002").mkdir()  # another run's
    with FaultRecordings(tmp_path, str(tiny_run), 2) as faults:
        recorder = Recorder(controller.contract, 2.0, faults.keep)
        for begin in range(0, 400, 100):
            fly(controller, recorder, 100, {t for run in runs for t in run}, begin)
            wait_for(lambda: not faults.waiting)
        assert recorder.reason == "fallback after shape", "its second is not over"
    assert recorder.faults == 6, "five times the fallback, once the stop"
    assert [Path(path).name for path, _ in faults.kept] == ["fault-0003", "fault-0004"]
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "fault-0002",
        "fault-0003",
        "fault-0004",
    ]
    for (path, reason), last in zip(faults.kept, (122 + 50, 302 + 50), strict=True):
        recording, result = again(tiny_run, path)
        assert result["identical"] and recording.about["reason"] == reason
        assert recording.columns["sequence"][-1] == last
        assert result["ticks"] >= 100
    recording, result = again(tiny_run, recorder.dump(tmp_path / "end", controller, "here"))
    assert result["identical"] and recording.columns["sequence"][-1] == 399


def test_a_disk_that_fails_costs_recordings_and_no_ticks(tiny_run, tmp_path):
    """It is counted, told, and nothing half written stays."""
    (tmp_path / "file").write_text("in the way")
    controller = Controller.load(tiny_run, "prior", seed=7).warmup()
    with FaultRecordings(tmp_path / "file", str(tiny_run), 2) as faults:
        recorder = Recorder(controller.contract, 2.0, faults.keep)
        fly(controller, recorder, 100, range(20, 24))
    assert (faults.kept, faults.dropped) == ([], 1) and "file" in faults.problem


def test_the_last_command_is_in_the_recording(tiny_run, tmp_path):
    """And compared, as the rest is."""
    recorder, _ = recorded(tiny_run, tmp_path / "r", 5)
    controller = Controller.load(tiny_run, seed=7).warmup()
    recorder.last_command = {"action": [0.0], "sent": True}
    recording, result = again(tiny_run, recorder.dump(tmp_path / "s", controller, "here"))
    assert recording.about["last_command"]["sent"] and result["identical"]
    recording.about["last_command"]["action"] = [0.5]
    found = replay_run.replay(recording, replay_run.controller_for(recording, str(tiny_run)))
    difference = {"tick": 5, "what": "last_command", "recorded": [0.5], "replayed": [0.0]}
    assert found["difference"] == difference


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
