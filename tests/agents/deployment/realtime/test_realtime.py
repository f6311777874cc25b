"""The real-time loop: what it counts, when it stops, and what it leaves the world with."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agents.deployment.controller import Controller
from agents.deployment.guard.config import SafetyConfig
from agents.deployment.realtime import replay as replay_run
from agents.deployment.realtime.config import RunConfig, check_rate
from agents.deployment.realtime.loop import drive
from agents.deployment.realtime.recorder import Recorder
from agents.deployment.realtime.run import run
from agents.deployment.realtime.simulator import Frame, LiveSimulator
from agents.deployment.realtime.timing import Times
from agents.runs.config import ConfigError, PlannerOverrides
from envs.spec import EnvError
from scripts.cli import main

ROOT = Path(__file__).parents[4]


class World:
    """A robot that stands still and notes what it is told; `obs(tick)` is what it shows."""

    def __init__(self, obs, delay=0.0):
        self.ended, self.sent, self.looks = [], [], 0
        self._obs, self._delay = obs, delay

    def start(self, begin):
        self.begin = begin

    def newest(self):
        self.looks += 1
        obs = self._obs(self.looks)
        if obs is None:
            return None
        return Frame(self.looks, 0, self.looks, time.monotonic(), obs)

    def send(self, action):
        time.sleep(self._delay)
        self.sent.append(action.copy())


def steady(look):
    return np.full(5, 0.01 * (look % 7))


@pytest.fixture(scope="module")
def load(tiny_run):
    """Controllers in mode prior, which compile in no time."""
    return lambda **options: Controller.load(str(tiny_run), "prior", **options).warmup()


def test_every_tick_is_issued_and_nothing_is_compiled(load):
    """Half a second at 50 Hz; the last thing the world gets is the safe action."""
    controller, world = load(), World(steady)
    outcome = drive(controller, world, seconds=0.5, phase=0.001)
    assert outcome.ticks + outcome.skipped == pytest.approx(25, abs=1)
    assert len(world.sent) == outcome.ticks + 1
    np.testing.assert_array_equal(world.sent[-1], controller.guard.safe)
    assert (outcome.compilations, outcome.stopped) == (0, "")
    result = outcome.to_json()
    assert result["lateness_ms"]["p50"] >= 0
    assert 0 < result["compute_ms"]["p50"] <= result["response_ms"]["max"]
    assert controller.counters["prior"] == outcome.ticks
    json.dumps(result)


def test_missed_deadlines_stop_the_run(load):
    """Ticks of 50 ms at 50 Hz: five in a row are too many."""
    outcome = drive(load(), World(steady, delay=0.05), seconds=20, max_misses=5)
    assert "deadline stop" in outcome.stopped
    assert outcome.ticks <= 5
    assert outcome.misses == outcome.ticks and outcome.skipped >= outcome.ticks


def test_the_guard_stops_the_run_and_the_recording_replays(load, tmp_path, tiny_run):
    """A sensor that breaks: hold, fallback, stop, exit, and a recording of it."""
    broken = lambda look: steady(look) if look < 12 else np.full(5, np.inf)  # noqa: E731
    controller = load(safety=SafetyConfig(stop_after=6))
    recorder, world = Recorder(controller.contract, 1.0), World(broken)
    outcome = drive(controller, world, seconds=5, recorder=recorder, seed=3)
    assert "safety stop" in outcome.stopped and "finite" in outcome.stopped
    assert np.isfinite(world.sent).all() and np.abs(world.sent).max() <= 1
    path = recorder.dump(tmp_path / "recording", controller, str(tiny_run))
    recording = replay_run.load(path)
    assert recording.about["reason"] == "fallback after finite"
    again = replay_run.replay(recording, replay_run.controller_for(recording, str(tiny_run)))
    assert again["identical"] and again["ticks"] == outcome.ticks


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("times", [1, 2])
def test_a_signal_leaves_the_world_with_the_safe_action(load, tmp_path, tiny_run, name, times):
    """As the last command, in the outcome and in a recording that replays; twice is no worse."""
    contract = load().contract
    contract = replace(contract, action=replace(contract.action, safe=(0.25,)))

    def obs(look):
        if look == 12:
            for _ in range(times):
                signal.raise_signal(getattr(signal, name))
        return steady(look)

    controller, world = load(contract=contract), World(obs)
    recorder, before = Recorder(contract, 1.0), signal.getsignal(signal.SIGTERM)
    outcome = drive(controller, world, seconds=20, recorder=recorder, seed=3)
    assert (outcome.interrupted, outcome.seconds < 5) == (name, True)
    assert world.sent[-1].tolist() == [0.25] and world.sent[-2].tolist() != [0.25]
    assert outcome.to_json()["last_command"] == {"action": [0.25], "sent": True}
    assert signal.getsignal(signal.SIGTERM) is before
    recording = replay_run.load(recorder.dump(tmp_path / "r", controller, str(tiny_run)))
    assert recording.about["last_command"] == {"action": [0.25], "sent": True}
    again = Controller.load(str(tiny_run), "prior", contract=contract).warmup()
    again.set_state(recording.state)
    result = replay_run.replay(recording, again)
    assert result["identical"] and result["ticks"] == len(world.sent) - 1


def test_a_run_that_is_terminated_says_what_it_did_last(tiny_run, tmp_path):
    """The whole program: exit code 130, result.json, a recording, the safe action last."""
    out = tmp_path / "out"
    words = [sys.executable, "-m", "scripts.cli", "run", str(tiny_run), "--mode", "prior"]
    words += ["--seconds", "100", "--max-misses", "0", "--out", str(out), "--json"]
    words += ["--safety.stop-after", "1000"]
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "the clock runs" in line:
            break
    time.sleep(1.0)
    process.terminate()
    said, told = process.communicate(timeout=60)
    assert process.returncode == 130 and "interrupted by SIGTERM" in told
    result = json.loads(said)
    assert (result["signal"], result["interrupted"]) == ("SIGTERM", True)
    assert result["last_command"] == {"action": [0.0], "sent": True}
    assert json.loads((out / "result.json").read_text())["last_command"] == result["last_command"]
    recording = replay_run.load(result["recording"])
    assert recording.about["last_command"] == result["last_command"]
    assert recording.about["reason"] == "interrupted by SIGTERM"


def test_faults_of_a_long_run_are_all_recorded(tiny_run, tmp_path, monkeypatch):
    """Each that the guard recovered from, in a folder that `--replay` takes, and in the result."""
    newest = LiveSimulator.newest

    def flickering(self):
        frame = newest(self)
        if frame is None or not 0.5 < frame.stamp % 2.0 < 0.7:
            return frame
        return frame._replace(obs=np.full(5, np.nan))

    monkeypatch.setattr(LiveSimulator, "newest", flickering)
    config = RunConfig(
        str(tiny_run),
        mode="prior",
        seconds=6.5,
        max_misses=0,
        out=str(tmp_path),
        record_seconds=2.0,
        safety=SafetyConfig(stop_after=1000, tolerate="stale,duplicated"),
    )
    result = run(config)
    assert result["guard_faults"] >= 3 and result["recordings_dropped"] == 0
    recordings = result["fault_recordings"]
    assert len(recordings) >= 2 and set(recordings.values()) == {"fallback after finite"}
    for path in recordings:
        assert run(RunConfig(str(tiny_run), replay=path))["identical"]
    assert json.loads((tmp_path / "result.json").read_text())["fault_recordings"] == recordings


def test_a_world_that_dies_leaves_its_recording(tiny_run, tmp_path, monkeypatch):
    """Its first word is what is told, and the last seconds are kept and replay."""
    newest = LiveSimulator.newest

    def failing(self):
        if self.frame is not None and self.frame.number > 20:
            self._process.kill()
            self._process.wait()
            raise EnvError("the live simulator failed: a gear broke")
        return newest(self)

    monkeypatch.setattr(LiveSimulator, "newest", failing)
    out = tmp_path / "out"
    with pytest.raises(EnvError, match="a gear broke"):
        run(RunConfig(str(tiny_run), mode="prior", seconds=5, max_misses=0, out=str(out)))
    recording = replay_run.load(out / "recording")
    assert "a gear broke" in recording.about["reason"] and recording.about["ticks"] > 0
    again = replay_run.controller_for(recording, str(tiny_run))
    assert replay_run.replay(recording, again)["identical"]


def test_a_world_without_observations(load, monkeypatch):
    """One line, and the world is told to be safe."""
    monkeypatch.setattr("agents.deployment.realtime.loop.FIRST_OBS_S", 0.05)
    world = World(lambda look: None)
    with pytest.raises(EnvError, match="no observation came"):
        drive(load(), world, seconds=1)


def test_the_live_world_moves_on_by_itself():
    """Frames come at their times with nobody acting; they are those of the simulator; it ends."""
    with LiveSimulator("cartpole-swingup", 2, seed=5) as world:
        spec = world.ready()
        assert (spec.control_dt, spec.action_repeat) == (0.01, 1)
        begin = time.monotonic() + 0.05
        world.start(begin)
        seen = {}
        while time.monotonic() < begin + 0.5:
            if (frame := world.newest()) is not None:
                seen[frame.number] = frame
                assert frame.stamp == pytest.approx(begin + 0.01 * frame.number)
            time.sleep(0.002)
        assert max(seen) >= 20
        process = world._process
    assert process.returncode == 0
    from envs.registry import make_vec

    env = make_vec("cartpole-swingup", 1, action_repeat=1, num_threads=1)
    obs, _ = env.reset(seed=[5])
    for number in range(max(seen) + 1):
        if number in seen:
            np.testing.assert_array_equal(seen[number].obs, obs[0])
        obs, *_ = env.step(np.zeros((1, 1)))


def test_a_world_that_fails_or_dies_says_so():
    """By what it said, or by being gone."""
    with LiveSimulator("no-such-task", 2, seed=0) as world, pytest.raises(EnvError, match="no-su"):
        world.ready()
    with LiveSimulator("cartpole-swingup", 2, seed=0) as world:
        world.ready()
        world._process.kill()
        world._process.wait()
        with pytest.raises(EnvError, match="has ended"):
            world.start(time.monotonic())
            world.newest()


def test_durations_in_little_memory():
    """Percentiles of the last ticks, also when there were more than there is room for."""
    times = Times(100)
    assert times.milliseconds("obs_age") == {}
    for tick in range(250):
        times.add(0.001 * tick, 0.0, 0.0, 0.0)
    assert times.milliseconds("lateness")["max"] == pytest.approx(249)
    assert times.milliseconds("lateness")["p50"] == pytest.approx(199.5, abs=0.5)


def test_another_rate_is_refused():
    """The model's own, or nothing."""
    assert check_rate(0, 0.02) == check_rate(50, 0.02) == 50
    with pytest.raises(ConfigError, match="give --rate 50"):
        check_rate(100, 0.02)
    for settings in ({"seconds": -1}, {"episodes": -1}, {"record_seconds": 0}, {"seed": -1}):
        with pytest.raises(ConfigError, match=next(iter(settings))):
            RunConfig(**settings)
    assert RunConfig().episode_limit == 3 and RunConfig(seconds=5).episode_limit == 0


def test_run_and_replay_from_the_command_line(tiny_run, tmp_path, capsys):
    """Exit codes, files, JSON; a replay is identical; a wrong rate and task are one line."""
    run, out = str(tiny_run), str(tmp_path / "out")
    words = ["run", run, "--mode", "prior", "--json", "--max-misses", "0"]
    flags = ["--seconds", "1", "--record", "--out", out, "--safety.stop-after", "1000"]
    assert main([*words, *flags]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["ticks"] + result["skipped"] == pytest.approx(50, abs=1)
    assert result["compilations"] == 0 and result["rate_hz"] == 50
    assert json.loads((tmp_path / "out" / "result.json").read_text())["ticks"] == result["ticks"]
    assert main(["run", run, "--replay", result["recording"], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["identical"] is True
    replay = ["run", run, "--replay", result["recording"], "--digest", "0" * 64]
    assert main(replay) == 3
    assert "no bundle" in capsys.readouterr().err
    assert main([*words, "--rate", "75"]) == 2
    assert "give --rate 50" in capsys.readouterr().err
    assert main([*words, "--env", "cheetah-run", "--seconds", "1"]) == 2
    assert "does not fit" in capsys.readouterr().err
    assert main(["run", str(tmp_path / "nothing")]) == 3


def test_what_runs_of_a_bundle_is_said_and_recorded(tiny_bundle, tmp_path, capsys):
    """Its programs, or the installed code and why: one line on the terminal, and in the result."""
    words = ["run", tiny_bundle.path, "--mode", "prior", "--json", "--seconds", "0.2"]
    words += ["--max-misses", "0", "--safety.stop-after", "1000"]
    lacking = "its programs are not trusted (--trust, --digest)"
    for i, (flags, note) in enumerate(
        [([], lacking), (["--digest", tiny_bundle.digest], ""), (["--trust"], "")]
    ):
        out = tmp_path / str(i)
        assert main([*words, *flags, "--record", "--out", str(out)]) == 0
        captured = capsys.readouterr()
        told = [line for line in captured.err.splitlines() if "programs" in line]
        assert len(told) == bool(note)
        assert not note or f"{note}: the installed code runs its parameters" in told[0]
        written = json.loads((out / "result.json").read_text())
        assert written["programs"] is (not note) and written["note"].startswith(note)
        assert bool(written["note"]) == bool(note)
    recording = str(tmp_path / "0" / "recording")
    assert main(["run", tiny_bundle.path, "--replay", recording, "--json"]) == 0
    captured = capsys.readouterr()
    assert lacking in captured.err and lacking in json.loads(captured.out)["note"]


def test_why_programs_are_not_run(tiny_bundle, tiny_run):
    """Every reason in words; a run has no programs to speak of."""
    reasons = {
        "not trusted": {},
        "not for mode auto": {"trust": True, "mode": "auto"},
        "other planner settings": {"trust": True, "planner": PlannerOverrides(horizon=2)},
    }
    for reason, settings in reasons.items():
        found = Controller.load(tiny_bundle.path, **settings).policy
        assert reason in found.note and not found.exported
    for path, trust in ((tiny_bundle.path, True), (str(tiny_run), False)):
        found = Controller.load(path, trust=trust).policy
        assert (found.note, found.exported) == ("", trust)
