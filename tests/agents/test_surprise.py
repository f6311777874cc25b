"""The surprise monitor: quiet where the model was learned, loud where the world is another one."""

from dataclasses import replace

import numpy as np
import pytest

from agents.config import ConfigError
from agents.contract import Surprise
from agents.controller import Controller
from agents.deploy import contract_for
from agents.load import load
from agents.safety_config import SafetyConfig
from agents.safety_soak import contract
from agents.surprise import CALIBRATION_SEED, Monitor, calibrate, ranges, surprises
from envs.registry import make_vec

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
    return trained, calibrate(trained, 2, env=env), env


def test_calibration_is_repeatable_and_on_episodes_of_its_own(calibrated):
    trained, found, env = calibrated
    assert found == calibrate(trained, 2, env=env)
    assert found.surprise.seed == CALIBRATION_SEED >= 20_000
    assert found.surprise.threshold >= 1.5 * found.surprise.typical > 0
    agreed = found.apply(contract_for(trained))
    assert agreed.surprise == found.surprise and len(agreed.obs.low) == 5
    assert all(a < b for a, b in zip(agreed.obs.low, agreed.obs.high, strict=True))


def test_the_surprise_of_a_log_is_that_of_a_controller(calibrated):
    """Episodes at once, and tick by tick with its own memory."""
    trained, found, env = calibrated
    controller = Controller(
        found.apply(contract_for(trained)),
        trained.net,
        trained.params,
        trained.config.planner,
        mode="prior",
    )
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


@pytest.mark.parametrize("bad", [{"episodes": 0}, {"quantile": 0.0}, {"margin": 0.5}])
def test_calibrations_that_say_nothing_are_refused(tiny_run, bad):
    with pytest.raises(ConfigError, match="calibration needs"):
        calibrate(load(str(tiny_run)), **bad)
