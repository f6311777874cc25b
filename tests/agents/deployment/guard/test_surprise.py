"""The surprise monitor: quiet where the model was learned, loud where the world is another one."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from agents.deployment.contract import Surprise
from agents.deployment.controller import Controller
from agents.deployment.describe import contract_for
from agents.deployment.guard.config import SafetyConfig
from agents.deployment.guard.surprise import CALIBRATION_SEED, Monitor, calibrate, ranges, surprises
from agents.deployment.policy import Policy
from agents.runs import networks
from agents.runs.config import TrainConfig
from agents.runs.load import Trained, load
from envs.registry import make_vec
from planning.config import PlannerConfig
from tests.soak.safety_soak import contract
from wm.tdmpc import learner
from wm.tdmpc.config import ModelConfig

KNOWN = replace(contract(1, None), surprise=Surprise(0.5, 0.999, 1.5, 1, 0, 0.1))


def test_it_takes_some_ticks_in_a_row():
    monitor = Monitor(KNOWN, SafetyConfig(surprise_after=3))
    said = [monitor.update(x) for x in (0.4, 0.6, 0.6, 0.4, 0.6, 0.6, 0.6, 0.9, 0.4)]
    assert said == [False] * 6 + [True, True, False] and monitor.alarms == 1


def test_no_comparison_is_no_evidence_and_no_number_is_surprising():
    monitor = Monitor(KNOWN, SafetyConfig(surprise_after=2))
    assert [monitor.update(x) for x in (0.6, 0.0, np.nan)] == [False, False, True]
    monitor.reset()
    assert not monitor.update(np.inf) and monitor.update(np.inf)


@pytest.mark.parametrize(
    ("agreed", "config"),
    [(replace(KNOWN, surprise=None), SafetyConfig()), (KNOWN, SafetyConfig(surprise="off"))],
)
def test_without_a_threshold_it_says_nothing(agreed, config):
    monitor = Monitor(agreed, config)
    assert not any(monitor.update(1e9) for _ in range(10))


def test_ranges_reach_as_far_outside_as_what_was_seen_is_wide():
    low, high = ranges(np.array([[0.0, 10.0, 5.0], [1.0, 30.0, 5.0]]))
    assert low == pytest.approx((-1, -10, 4.5)) and high == pytest.approx((2, 50, 5.5))


@pytest.fixture(scope="module")
def calibrated(tiny_run):
    """The untrained model, and what it is used to."""
    trained = load(str(tiny_run))
    env = make_vec("cartpole-swingup", 2, action_repeat=50)  # 20 decisions an episode
    trained.spec = env.env_spec
    return trained, calibrate(trained, 2, env), env


def policy_of(trained, found):
    contract, planner = found.apply(contract_for(trained)), trained.config.planner
    return Policy(contract, trained.net, trained.params, planner, "prior")


def test_calibration_is_repeatable_and_on_episodes_of_its_own(calibrated):
    trained, found, env = calibrated
    assert found == calibrate(trained, 2, env)
    assert found.surprise.seed == CALIBRATION_SEED >= 20_000
    assert found.surprise.threshold >= 1.5 * found.surprise.typical > 0
    agreed = found.apply(contract_for(trained))
    assert agreed.surprise == found.surprise and len(agreed.obs.low) == 5
    assert all(a < b for a, b in zip(agreed.obs.low, agreed.obs.high, strict=True))


def test_the_surprise_of_a_log_is_that_of_a_controller(calibrated):
    """Episodes at once, and tick by tick with its own memory."""
    trained, found, env = calibrated
    controller = Controller(policy_of(trained, found))
    obs, _ = env.reset(seed=5)
    log = {"obs": [], "action": [], "running": []}
    ticks = []
    for _ in range(8):
        action = controller.act(obs[0])
        ticks.append(controller.last.surprise)
        log["obs"].append(obs[:1])
        log["action"].append(action[None])
        log["running"].append([True])
        obs, *_ = env.step(np.stack([action, action]))
    log = {
        name: np.array(value, bool if name == "running" else "f4") for name, value in log.items()
    }
    assert ticks[0] == 0 and min(ticks[1:]) > 0
    np.testing.assert_allclose(surprises(trained, log), ticks[1:], rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def learned():
    """A small pendulum model, decisions of 0.1 s, whose predictions were learned from actions at
    random (its encoder is any, and it has learned nothing else), and its calibration."""
    planner = PlannerConfig(num_samples=16, num_prior_samples=4, num_elites=4, num_iterations=1)
    model = ModelConfig(latent_dim=16, encoder_width=32, mlp_width=64, num_bins=11)
    config = TrainConfig(env_id="pendulum-swingup", action_repeat=5, model=model, planner=planner)
    env, rng = make_vec(config.env_id, 64, action_repeat=5), np.random.default_rng(0)
    net, (obs, _) = networks.build_networks(config, env.env_spec), env.reset(seed=0)
    seen, done, action = [obs], [], np.zeros((64, 1))
    for _ in range(env.env_spec.episode_steps - 1):
        other = np.sign(rng.normal(size=(64, 1))) * rng.uniform(size=(64, 1)) ** 0.5
        action = np.where(rng.uniform(size=(64, 1)) < 0.3, other, action)
        obs, *_ = env.step(action)
        seen.append(obs)
        done.append(action)
    params = learner.init(net, jax.random.key(0)).params
    latents = net.encode(params, np.array(seen, np.float32))
    before, after = (x.reshape(-1, 16) for x in (latents[:-1], latents[1:]))
    actions, optimiser = jnp.array(done, jnp.float32).reshape(-1, 1), optax.adam(3e-3)

    def error(dynamics, rows):
        expected = net.predict({**params, "dynamics": dynamics}, before[rows], actions[rows])
        return jnp.mean((expected - after[rows]) ** 2)

    def step(carry, key):
        dynamics, state = carry
        rows = jax.random.randint(key, (256,), 0, len(before))
        steps, state = optimiser.update(jax.grad(error)(dynamics, rows), state)
        return (optax.apply_updates(dynamics, steps), state), None

    begin = params["dynamics"], optimiser.init(params["dynamics"])
    keys = jax.random.split(jax.random.key(1), 3000)
    (dynamics, _), _ = jax.jit(lambda carry: jax.lax.scan(step, carry, keys))(begin)
    trained = Trained(Path("learned"), config, env.env_spec, net, {**params, "dynamics": dynamics})
    return trained, calibrate(trained, 8)


def watched(learned, shift, reaction, episodes=2):
    """A controller through episodes of a world; what the monitor found of each tick."""
    trained, found = learned
    safety = SafetyConfig(surprise=reaction, tolerate="range")
    controller = Controller(policy_of(trained, found), safety=safety)
    env, above = make_vec("pendulum-swingup", 1, action_repeat=5, shift=shift), []
    for episode in range(episodes):
        obs, _ = env.reset(seed=40_000 + episode)
        controller.reset(episode)
        for _ in range(env.env_spec.episode_steps - 1):
            obs, *_ = env.step(controller.act(obs[0])[None])
            above.append(controller.last.surprise > found.surprise.threshold)
    return controller, float(np.mean(above))


@pytest.mark.slow
def test_other_worlds_are_noticed_and_the_usual_one_is_not(learned):
    """Held-out episodes stay below the false alarms that the threshold allows; more weight, a
    stronger motor and a lighter pole are told as another world, and stop it if so configured."""
    controller, share = watched(learned, None, "stop", episodes=10)
    assert share <= 1 - learned[1].surprise.quantile
    assert controller.monitor.alarms == 0 and controller.guard.state == "ok"
    for shift in ("gravity=2", "gain=3", "mass=0.3"):
        controller, share = watched(learned, shift, "report")
        assert share > 0.05 and controller.monitor.alarms >= 1, shift
        assert controller.guard.counters["fault/surprise"] and controller.guard.state == "ok"
        controller, _ = watched(learned, shift, "stop")
        assert controller.guard.state == "stopped" and "surprise" in controller.guard.stop_reason
