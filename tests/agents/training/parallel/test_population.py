"""A population: members learn what they would learn alone, and are ordinary runs afterwards."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import jax
import numpy as np
import pytest

from agents.runs.config import ConfigError, TrainConfig
from agents.runs.signals import LearningError
from agents.training.parallel.population import Population
from agents.training.parallel.population_config import members
from agents.training.parallel.population_train import _over_seeds, train_population
from agents.training.train import train
from agents.training.trainer import Trainer
from planning.config import PlannerConfig
from wm.tdmpc.config import LearnerConfig, ModelConfig

pytestmark = pytest.mark.usefixtures("traced_once")

SMALL = TrainConfig(
    env_id="cartpole-balance",
    env_steps=100,
    num_envs=2,
    action_repeat=8,
    seed_steps=40,
    eval_every=0,
    eval_episodes=1,
    save_every=40,
    replay_capacity=2_000,
    video=False,
    model=ModelConfig(latent_dim=16, encoder_width=16, mlp_width=16),
    learner=LearnerConfig(batch_size=8),
    planner=PlannerConfig(num_samples=12, num_prior_samples=4, num_elites=4, num_iterations=1),
)


def run_to(trainers: list[Trainer], limits: list[int]) -> Population:
    pop = Population(trainers)
    live = np.array([True] * len(trainers))
    while live.any():
        pop.cycle(live)
        live &= np.array([t.counters.env_steps < n for t, n in zip(trainers, limits, strict=True)])
    return pop


def compare_with_runs(devices: int) -> None:
    """Other seeds and other learning rates in one program, against one run each."""
    assert jax.device_count() == devices
    configs = [SMALL, replace(SMALL, seed=1, learner=LearnerConfig(batch_size=8, td_lambda=0.5))]
    pop = run_to([Trainer(c) for c in configs], [64, 64])
    assert len(jax.tree.leaves(pop.loop.train.params)[0].devices()) == devices
    for m, config in enumerate(configs):
        alone = Trainer(config)
        while alone.counters.env_steps < 64:
            alone.cycle()
        together = pop.trainers[m]
        assert together.counters == alone.counters
        assert together.counters.updates > 40
        np.testing.assert_allclose(together.loop.replay.rows, alone.loop.replay.rows, atol=2e-3)
        pairs = zip(
            jax.tree.leaves(together.loop.train.params),
            jax.tree.leaves(alone.loop.train.params),
            strict=True,
        )
        for one, other in pairs:
            np.testing.assert_allclose(one, other, atol=5e-3)
    lambdas = {float(v) for v in pop.values["td_lambda"]}
    assert len(lambdas) == 2
    assert set(pop.values) == {"td_lambda"}


@pytest.mark.exact
@pytest.mark.parametrize("devices", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_every_member_learns_what_it_learns_alone(devices):
    """All members on one device, or half of them on each of two."""
    if devices == 1:
        compare_with_runs(1)
        return
    code = f"import runpy; runpy.run_path({__file__!r})['compare_with_runs']({devices})"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    env["XLA_FLAGS"] = f"{env['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.exact
def test_a_member_that_is_done_stays_as_it_is():
    pop = run_to([Trainer(SMALL), Trainer(replace(SMALL, seed=1))], [50, 50])
    before = jax.tree.map(np.asarray, pop.trainers[0].loop.train)
    for _ in range(4):
        pop.cycle(np.array([False, True]))
    after = pop.trainers[0]
    jax.tree.map(np.testing.assert_array_equal, before, jax.tree.map(np.asarray, after.loop.train))
    assert after.counters.env_steps == 50
    assert pop.trainers[1].counters.env_steps > 50


@pytest.mark.exact
def test_members_are_ordinary_runs_and_the_same_command_resumes(tmp_path):
    config = replace(SMALL, run_dir=str(tmp_path / "pop"))
    half = [replace(c, env_steps=60) for c in members(config, 2, "")]
    train_population(half, json_mode=True)
    result = train_population(members(config, 2, ""), json_mode=True)
    assert result["member_seeds"] == [0, 1]
    assert result["env_steps"] == [100, 100]
    stored = json.loads((tmp_path / "pop" / "population.json").read_text())
    assert stored["member_returns"] == result["member_returns"]
    whole = train_population(
        members(replace(config, run_dir=str(tmp_path / "whole")), 2, ""), json_mode=True
    )
    assert whole["member_returns"] == result["member_returns"]
    longer = replace(members(config, 2, "")[1], env_steps=110)
    assert train(longer, json_mode=True)["env_steps"] == 110  # one of them goes on alone


def test_settings_that_vary_make_a_member_each(tmp_path):
    config = replace(SMALL, run_dir=str(tmp_path))
    found = members(config, 2, "learner.learning_rate=1e-3,3e-4 learner.td_lambda=0,0.9")
    assert len(found) == 8
    assert len({c.run_dir for c in found}) == 8
    assert {(c.seed, c.learner.learning_rate, c.learner.td_lambda) for c in found} == {
        (s, r, v) for s in (0, 1) for r in (1e-3, 3e-4) for v in (0.0, 0.9)
    }


def test_a_member_that_diverges_is_named_and_the_others_end(tmp_path):
    """The sound one is finished, with its result; the other's folder is told."""
    config = replace(SMALL, env_steps=64, save_every=20, run_dir=str(tmp_path))
    found = members(config, 1, "learner.learning_rate=1e-3,10")
    object.__setattr__(found[1].learner, "learning_rate", 1e18)  # past the bounds
    with pytest.raises(LearningError, match=r"1 of 2 members diverged \(seed-0.learning_rate=10"):
        train_population(found, json_mode=True)
    assert (tmp_path / "seed-0.learning_rate=0.001" / "result.json").exists()
    assert not (tmp_path / "seed-0.learning_rate=10" / "result.json").exists()


def test_means_are_over_seeds_of_one_setting():
    varied = [{"td_lambda": 0.0}, {"td_lambda": 0.0}, {"td_lambda": 0.5}, {"td_lambda": 0.5}]
    found = _over_seeds([1.0, 3.0, 10.0, 10.0], varied)
    assert [row["return_mean"] for row in found["settings"]] == [2.0, 10.0]
    assert _over_seeds([1.0, 3.0], [{}, {}])["return_mean"] == 2.0


def test_settings_that_are_close_have_folders_of_their_own(tmp_path):
    close = "learner.td_lambda=0.9999999,0.9999998"
    found = members(replace(SMALL, run_dir=str(tmp_path)), 1, close)
    assert len({c.run_dir for c in found}) == 2


@pytest.mark.parametrize(
    ("seeds", "vary", "named"),
    [
        (0, "", "seeds"),
        (300, "", "seeds"),
        (1, "learner.horizon=1,2", "learner.horizon"),
        (1, "planner.horizon=1,2", "planner.horizon"),
        (1, "learner.td_lambda=0,2", "td_lambda"),
        (1, "learning_rate=1e-3,3e-4", "--vary: learning_rate cannot vary.*learner.learning_rate"),
        (200, "learner.td_lambda=0,0.5", "400 members"),
    ],
)
def test_what_cannot_share_a_program_is_refused_by_name(seeds, vary, named):
    with pytest.raises(ConfigError, match=named):
        members(SMALL, seeds, vary)
