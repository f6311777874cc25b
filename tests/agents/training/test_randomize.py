"""Domain randomisation: the draw, its mistakes, and runs that go on bit for bit."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.runs.compile import Compilations
from agents.runs.config import ConfigError, TrainConfig, digest
from agents.runs.directory import RunDir
from agents.runs.progress import TrainProgress
from agents.training import randomize, setup
from agents.training.checkpoint import Saver
from agents.training.train import TrainSession, open_trainer
from agents.training.trainer import Trainer
from envs.tasks import TASKS
from planning.config import PlannerConfig
from scripts.cli import main
from wm.tdmpc.config import LearnerConfig, ModelConfig

pytestmark = pytest.mark.usefixtures("traced_once")

TEXT = "mass=0.8:1.2 damping=0.5:2 obs_noise=0:0.02 action_delay=0:1"
SMALL = {
    "env_id": "cartpole-swingup",
    "action_repeat": 20,
    "env_steps": 400,
    "seed_steps": 60,
    "eval_every": 0,
    "replay_capacity": 300,
    "video": False,
    "model": ModelConfig(encoder_width=16, mlp_width=16, latent_dim=16, num_bins=21),
    "learner": LearnerConfig(batch_size=8),
    "planner": PlannerConfig(num_samples=16, num_prior_samples=4, num_elites=4, num_iterations=2),
    "randomize": TEXT,
}


def leaves(trainer: Trainer):
    parts = (trainer.loop._replace(metrics={}, plan_info=None), trainer.driver.get_state())
    return [np.asarray(x) for x in jax.tree.leaves(parts)]


@given(st.integers(1, 9), st.integers(0, 2**31 - 1))
@settings(max_examples=30, deadline=None)
def test_every_stratum_of_every_range_is_met_once(count, seed):
    shifts = randomize.draw("mass=0.8:1.2 damping=0.5:2", count, seed)
    for key, low, high in (("mass", 0.8, 1.2), ("damping", 0.5, 2.0)):
        place = (np.array([getattr(s, key) for s in shifts]) - low) / (high - low)
        assert sorted(np.clip(place * count, 0, count - 1e-9).astype(int)) == list(range(count))


def test_the_draw_is_a_function_of_the_seed_alone():
    one = randomize.draw(TEXT, 4, 3)
    assert one == randomize.draw(" ".join(reversed(TEXT.split())), 4, 3)
    assert one != randomize.draw(TEXT, 4, 4)
    assert len({str(s) for s in one}) == 4
    assert sorted(s.action_delay for s in one) == [0, 0, 1, 1]  # whole, both ends
    assert all(s.gravity == 1.0 for s in one)  # what is left out stays


def test_one_value_is_a_fixed_world_and_no_text_the_usual_one():
    assert {s.gain for s in randomize.draw("gain=0.7", 3, 0)} == {0.7}
    assert [str(s) for s in randomize.draw("", 2, 0)] == ["", ""]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mas=1:2", "did you mean mass"),
        ("mass", "mass"),
        ("mass=", "mass"),
        ("mass=2:1", "lower end first"),
        ("mass=1: ", "mass"),
        ("mass=a:2", "mass"),
        ("action_delay=0:0.5", "action_delay"),
        ("mass=1:2 mass=1:3", "mass is given twice"),
        ("mass=0:1", "mass"),
        ("obs_noise=-1:1", "obs_noise"),
        ("=1", "unknown"),
    ],
)
def test_mistakes_name_the_key(text, said):
    with pytest.raises(ConfigError, match="randomize") as caught:
        randomize.draw(text, 2, 0)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_mistake_on_the_command_line_costs_nothing(tmp_path, capsys):
    run = tmp_path / "run"
    code = main(["train", "cartpole-swingup", "--run-dir", str(run), "--randomize", "mas=1:2"])
    assert code == 2
    assert "did you mean mass" in capsys.readouterr().err
    assert not run.exists()


def test_a_task_names_its_own_ranges(monkeypatch):
    """With "task"; one that names none says where they go."""
    config = TrainConfig(env_id="cartpole-swingup", num_envs=3, randomize="task")
    with pytest.raises(ConfigError, match="cartpole-swingup has no ranges"):
        setup.make_simulators(config)
    monkeypatch.setattr(TASKS["cartpole-swingup"], "randomize", "mass=2:3", raising=False)
    env = setup.make_simulators(config)
    mass = np.array(env.simulators.batch.expand("body_mass"))[:, 2]
    assert len(set(mass)) == 3 and (mass > 1.9 * env.simulators.task.model.body_mass[2]).all()
    env.close()
    monkeypatch.setattr(TASKS["cartpole-swingup"], "randomize", "mas=2:3")
    with pytest.raises(ConfigError, match="did you mean mass"):
        setup.make_simulators(config)


def test_mjx_says_that_it_cannot():
    with pytest.raises(ConfigError, match="--randomize"):
        setup.make_simulators(TrainConfig(backend="mjx", randomize="mass=1:2"))


def test_simulators_differ_as_drawn():
    config = TrainConfig(**SMALL)
    env = setup.make_simulators(config)
    usual = setup.make_simulators(TrainConfig(**{**SMALL, "randomize": ""}))
    mass = env.simulators.batch.expand("body_mass")
    factor = mass[:, -1] / usual.simulators.batch.model.body_mass[-1]
    drawn = [s.mass for s in randomize.draw(TEXT, config.num_envs, config.seed)]
    np.testing.assert_allclose(factor, drawn, rtol=1e-12)
    assert env.env_spec == usual.env_spec


@pytest.mark.exact
def test_a_restored_run_goes_on_bit_for_bit(tmp_path):
    config = TrainConfig(**SMALL, run_dir=str(tmp_path / "run"))
    one = Trainer(config)
    while one.counters.updates < 40:
        one.cycle()
    run = RunDir.create(config.run_dir)
    Saver(run).save(one, {})
    other = Trainer(config)
    Saver(run).restore(other)
    for _ in range(60):  # resets of episodes among them
        one.cycle()
        other.cycle()
    assert one.counters.episodes >= 4
    for a, b in zip(leaves(one), leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_run_keeps_its_ranges(tmp_path):
    config = TrainConfig(**SMALL, run_dir=str(tmp_path / "run"))
    run, bar = RunDir.create(config.run_dir), TrainProgress(1, quiet=True)
    TrainSession(run, open_trainer(config, run), bar, 0.0, Compilations()).open()
    assert run.read_json("config.json")["randomize"] == TEXT
    changed = TrainConfig(**{**SMALL, "randomize": "mass=1:2"}, run_dir=config.run_dir)
    with pytest.raises(ConfigError, match=r"randomize is mass=1:2, but"):
        open_trainer(changed, run)
    assert digest(changed) != digest(config)
