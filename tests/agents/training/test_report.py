"""The report: self-contained, complete, and content with what is there."""

import json
import re

import numpy as np
import pytest

from agents.reports.published import our_name, published_at, published_curves
from agents.reports.video import write_mp4
from agents.training.report import write_report
from envs.tasks import TASKS

RESULT = {
    "env_id": "cartpole-swingup",
    "return_mean": 812.5,
    "return_ci95": [800.0, 830.0],
    "episode_returns": [800.0, 825.0],
    "episodes_valid": 2,
    "episodes_asked": 2,
    "prior_return_mean": 700.0,
    "random_return_mean": 60.0,
    "env_steps": 20_000,
    "frames": 40_000,
    "updates": 20_000,
    "train_wall_s": 200.0,
    "total_wall_s": 245.0,
    "plan_ms": {"p50": 4.0, "p95": 5.0, "p99": 6.0},
    "compile_s": 20.0,
    "params": 184_369,
    "seed": 0,
    "config_digest": "ab" * 32,
    "versions": {"jax": "0.10.2"},
    "control_dt": 0.01,
    "action_repeat": 2,
    "command": "latentmpc train <task> & more",
    "video": "switched off (--no-video)",
}


def make_run(path, result, full=True):
    path.mkdir(exist_ok=True)
    (path / "result.json").write_text(json.dumps(result))
    if full:
        rows = [
            {"kind": "episode", "env_steps": 500, "frames": 1000, "return": 100.0},
            {"kind": "train", "env_steps": 900, "frames": 1800, "loss/value": 0.3, "value_mean": 1},
            {"kind": "eval", "env_steps": 1000, "frames": 2000, "return_mean": 5, "return_std": 1},
        ]
        text = "\n".join(map(json.dumps, rows)) + '\n{"torn'
        (path / "metrics.jsonl").write_text(text)
        evaluation = {
            "plan_ms": list(np.linspace(3, 6, 50)),
            "predicted": [1.0, 2.0],
            "realised": [1.5, 1.8],
            "k_step_error": [0.1, 0.2, 0.4],
        }
        (path / "eval.json").write_text(json.dumps(evaluation))
    return path


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("env_id", ["cartpole-swingup", "Pendulum-v1"])
def test_page_is_self_contained(tmp_path, full, env_id):
    page = write_report(make_run(tmp_path / "run", {**RESULT, "env_id": env_id}, full)).read_text()
    links = [
        u for u in re.findall(r'(?:src|href)="([^"]*)"', page) if not u.startswith(("#", "data:"))
    ]
    assert links == []
    assert "switched off (--no-video)" in page
    assert "latentmpc train &lt;task&gt; &amp; more" in page
    assert ("TD-MPC2, published" in page) == (env_id == "cartpole-swingup")
    assert ("Latency" in page) == full


def test_without_a_valid_episode_there_is_a_report(tmp_path):
    nothing = {"return_mean": None, "return_ci95": [None, None], "episodes_valid": 0}
    page = write_report(make_run(tmp_path, {**RESULT, **nothing})).read_text()
    assert "0 / 2" in page and "not known" in page


def test_video_is_embedded_and_plays(tmp_path):
    import av

    frames = np.random.default_rng(0).integers(0, 255, (8, 49, 65, 3), dtype=np.uint8)
    path = write_mp4(tmp_path / "video.mp4", frames, 12.5)
    with av.open(str(path)) as container:
        decoded = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
        assert float(container.streams.video[0].average_rate) == 12.5
    assert len(decoded) == 8 and decoded[0].shape == (48, 64, 3)
    shown = write_report(make_run(tmp_path, {**RESULT, "video": "video.mp4"})).read_text()
    assert "data:video/mp4;base64," in shown
    stale = write_report(make_run(tmp_path, RESULT)).read_text()  # a result that rendered none
    assert "data:video/mp4;base64," not in stale and "switched off" in stale


def test_video_of_a_wrong_kind_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"uint8 \[T, H, W, 3\]"):
        write_mp4(tmp_path / "video.mp4", np.zeros((3, 8, 8)), 10)


def test_published_names_are_ours():
    assert our_name("cup-catch") == "ball_in_cup-catch"
    assert our_name("finger-turn-easy") == "finger-turn_easy"
    assert our_name("cartpole-swingup-sparse") == "cartpole-swingup_sparse"
    known = {name for name in TASKS if published_curves(name)}
    assert {"cartpole-swingup", "ball_in_cup-catch", "finger-turn_hard", "walker-run"} <= known
    point = published_at("cartpole-swingup", 90_000)
    assert point is not None
    assert tuple(point) == (100_000, 839.0, 35.0)
    assert published_at("Pendulum-v1", 1000) is None
