"""Surprise of whole episodes, and what a bench of shifted worlds concludes from it."""

import jax.numpy as jnp
import numpy as np
import pytest

from agents.goals.agent import GoalModel
from agents.goals.robustness.config import LEVELS, ShiftConfig
from agents.goals.robustness.report import table, write_shift_html
from agents.goals.robustness.shift import drop_rank, ends_of
from agents.goals.rollout import ObservationSource, disturbed
from agents.goals.surprise import Log, surprises
from agents.runs.config import ConfigError
from envs.native.shift import Shift
from envs.tasks import TASKS


def _step(gain, latent, actions):
    return latent + gain * actions.reshape(-1, 1).sum(0)


MODEL = GoalModel(
    encode=lambda gain, frames: frames[-1],
    step=_step,
    embed=lambda gain, latent: latent,
    action_dim=1,
    frame_shape=(1,),
    history=2,
    block=2,
)


def walked(gain, steps=12, goal=0):
    """A log of one episode of x' = x + gain a."""
    log, x, rng = Log(), np.zeros(1), np.random.default_rng(goal)
    for _ in range(steps):
        action = rng.uniform(-1, 1, 1)
        log.add(np.array([-1, goal]), np.array([[9.0], x], np.float32), np.array([[9.0], action]))
        x = x + gain * action
    return log


def test_a_world_as_predicted_does_not_surprise_and_another_does():
    usual = surprises(MODEL, jnp.float32(1.0), jnp.float32(1.0), walked(1.0))
    other = surprises(MODEL, jnp.float32(1.0), jnp.float32(1.0), walked(1.5))
    coarse = surprises(MODEL, jnp.float32(1.0), jnp.float32(4.0), walked(1.5))
    assert list(usual) == [0] and usual[0] < 1e-6
    assert other[0] > 0.1
    assert coarse[0] == pytest.approx(other[0] / 2, rel=1e-5)
    short = surprises(MODEL, jnp.float32(1.0), jnp.float32(1.0), walked(1.0, steps=2))
    assert np.isnan(short[0]), "nothing could be predicted"


def test_a_tasks_ranges_are_the_worlds_that_are_tried(monkeypatch):
    """Their ends, but for the usual world; without ranges, or with kinds, the levels."""
    config = ShiftConfig()
    monkeypatch.setattr(TASKS["two-room"], "randomize", "mass=0.8:1.2 obs_delay=0:2")
    ends = ends_of("two-room")
    assert config.worlds(False, ends) == [("mass", 0.8), ("mass", 1.2), ("obs_delay", 2.0)]
    assert ShiftConfig(kinds="tilt").worlds(False, ends) == [("tilt", 5.0), ("tilt", 10.0)]
    assert ends_of("cartpole-swingup") == {}
    assert len(config.worlds(False, {})) > 20


def test_pictures_are_late_and_noisy():
    """From the first of each simulator's own episode on; goals are untouched."""
    shown = np.arange(10)[:, None, None, None, None] * np.full((10, 2, 1, 1, 3), 25, np.uint8)
    ticks = iter(shown.astype(np.uint8))
    plain = ObservationSource(lambda env, obs, begun: next(ticks), lambda env: "goals")
    none, second = np.zeros(2, bool), np.array([False, True])
    late = disturbed(plain, 0.0, 2, seed=0)
    seen = [late.frames(None, none, begun) for begun in (~none, none, none, second, none)]
    got = np.array(seen)[:, :, 0, 0, 0] // 25
    assert got.tolist() == [[0, 0], [0, 0], [0, 0], [1, 3], [2, 3]]
    assert late.goals(None) == "goals"
    grey = ObservationSource(
        lambda env, obs, begun: np.full((2, 64, 64, 3), 100, np.uint8), plain.goals
    )
    noisy = disturbed(grey, 0.1, 0, seed=0).frames(None, none, ~none)
    assert noisy.dtype == np.uint8 and noisy.std() == pytest.approx(25.5, rel=0.02)
    assert noisy.mean() == pytest.approx(100, abs=0.5)


def world(kind, level, success, score):
    shift = str(Shift(**{kind: level})) if kind else ""
    ends = [success - 0.1, success + 0.1]
    named = {"kind": kind, "level": level, "shift": shift, "success": success}
    return named | {"success_interval": ends, "surprise": 0.1, "auroc": score, "flagged": 0.05}


def test_an_alarm_is_judged_by_what_was_lost():
    rows = [world("", 0, 0.9, 0.5), world("mass", 2.0, 0.8, 0.6), world("mass", 4.0, 0.2, 0.9)]
    assert drop_rank(rows) == pytest.approx(1)
    rows[1]["auroc"] = 0.95
    assert drop_rank(rows) == pytest.approx(-1)
    assert np.isnan(drop_rank(rows[:2]))


def test_the_page_shows_every_world(tmp_path):
    rows = [world("", 0, 0.9, 0.5), world("mass", 2.0, 0.8, 0.6), world("obs_delay", 4, 0.2, 0.9)]
    summary = {"env_id": "two-room", "mode": "plan", "goals": 50, "worlds": rows}
    summary["drop_surprise_rank"] = drop_rank(rows)
    shown = table(summary)
    assert [row[0] for row in shown.rows] == ["as trained", "mass=2.0", "obs_delay=4"]
    write_shift_html(tmp_path / "shift.html", summary)
    page = (tmp_path / "shift.html").read_text()
    assert page.count("<svg") == 2 and "obs_delay=4" in page and "http" not in page.split("svg")[0]


def test_only_what_the_model_sees_is_shifted():
    seen = {kind for kind, _ in ShiftConfig().worlds(pixels=False)}
    assert seen == set(LEVELS) - {"color", "camera", "roll"}
    assert {kind for kind, _ in ShiftConfig().worlds(pixels=True)} == set(LEVELS)
    with pytest.raises(ConfigError, match="sees observation vectors, which color does not reach"):
        ShiftConfig(kinds="mass,color").worlds(pixels=False)
    with pytest.raises(ConfigError, match="unknown kind of shift masss: did you mean mass"):
        ShiftConfig(kinds="masss")
    for kind, levels in LEVELS.items():
        for level in levels:
            assert getattr(Shift(**{kind: level}), kind) == level
