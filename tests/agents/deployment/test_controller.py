"""The controller: repeatable, compiled beforehand, in time, and never without an answer."""

import os
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.acting.agent import agent_for
from agents.deployment.contract import Surprise
from agents.deployment.controller import Controller
from agents.deployment.describe import contract_for
from agents.deployment.guard.config import SafetyConfig
from agents.deployment.policy import Policy
from agents.runs.compile import counted
from agents.runs.config import ConfigError
from agents.runs.load import load
from tests.soak import message_soak
from tests.soak.controller_soak import soak

RNG = np.random.default_rng(0)
STREAM = RNG.uniform(-1, 1, (12, 5)).astype(np.float32)
"""Observations."""


@pytest.fixture(scope="module")
def trained(tiny_run):
    return load(str(tiny_run))


def made(trained, mode="plan", contract=None, **options):
    return Controller(policy_of(trained, mode, contract), **options)


def policy_of(trained, mode="plan", contract=None, planner=None, params=None, **options):
    contract, planner = contract or contract_for(trained), planner or trained.config.planner
    return Policy(contract, trained.net, params or trained.params, planner, mode, **options)


def actions(controller, stream=STREAM, **given):
    return np.array([controller.act(obs, **given) for obs in stream])


class Timer:
    """Time passes only in programs, as much as `cost` says."""

    def __init__(self):
        self.now, self.cost = 0.0, {"first": 0.004, "more/12": 0.003, "watch": 0.001}

    def __call__(self):
        return self.now

    def slow(self, controller):
        """The controller, with programs that take their time."""

        def wrapped(name, program):
            def run(*arguments):
                self.now += self.cost[name]
                return program(*arguments)

            return run

        planner = controller.policy.anytime
        planner.programs = {k: wrapped(k, p) for k, p in planner.programs.items()}
        return controller.warmup()


@pytest.fixture(scope="module")
def automatic(trained):
    """A controller in mode auto under a timer of ours, 10 ms a tick."""
    timer = Timer()
    policy = policy_of(trained, "auto", timer=timer)
    return timer.slow(Controller(policy, deadline_ms=10)), timer


@pytest.fixture
def auto(automatic):
    controller, timer = automatic
    timer.cost = Timer().cost
    controller.reset(0)
    controller.counters.clear()
    controller.policy.anytime.expected = {**timer.cost, "rest": 0.0}
    return controller, timer


@pytest.fixture
def compiled():
    """What is compiled while the test runs."""
    with counted() as found:
        yield found


@pytest.fixture(scope="module")
def planner(trained):
    return made(trained).warmup()


@pytest.fixture(scope="module")
def reactive(trained):
    return made(trained, "prior").warmup()


@pytest.mark.exact
def test_it_decides_as_the_evaluation_of_one_simulator_does(trained, planner):
    agent = agent_for(trained.net, trained.config.planner, "plan")
    carry, key, expected = agent.init_carry(1), jax.random.key(7), []
    for t, obs in enumerate(STREAM):
        is_first, key_t = jnp.full(1, t == 0), jax.random.fold_in(key, t)
        action, carry, _ = agent.act(trained.params, carry, obs[None], is_first, key_t)
        expected.append(action[0])
    planner.reset(7)
    np.testing.assert_allclose(actions(planner), np.array(expected), atol=1e-5)


def test_a_seed_repeats_its_actions_and_another_does_not(planner):
    runs = []
    for seed in (1, 1, 2):
        planner.reset(seed)
        runs.append(actions(planner))
    np.testing.assert_array_equal(runs[0], runs[1])
    assert (runs[0] != runs[2]).any()


@pytest.mark.parametrize("mode", ["plan", "prior", "auto"])
def test_nothing_is_compiled_after_the_warm_up(mode, planner, reactive, auto):
    controller = {"plan": planner, "prior": reactive, "auto": auto[0]}[mode]
    controller.reset(3)
    with counted() as compiled:
        for obs in (*STREAM, None, STREAM[0].astype(np.float64), None, *STREAM[:2]):
            controller.act(obs)
        controller.rearm()
        controller.reset()
        controller.act(STREAM[0])
    assert compiled.count == 0


def test_with_time_enough_auto_is_plan_bit_for_bit(auto, planner):
    planner.reset(0)
    as_for_users = not os.environ["XLA_FLAGS"]  # the quick compiler rounds each program in its way
    tolerance = 0 if as_for_users else 1e-6
    np.testing.assert_allclose(actions(auto[0]), actions(planner), rtol=0, atol=tolerance)
    assert auto[0].counters["plan"] == len(STREAM) and auto[0].last.work == 2


def test_a_budget_of_one_iteration_gives_the_plan_of_one_iteration(trained, auto):
    controller, timer = auto
    timer.cost["more/12"] = 0.007
    controller.policy.anytime.expected["more/12"] = 0.007
    one = replace(trained.config.planner, num_iterations=1)
    found, expected = controller.act(STREAM[0]), controller.last
    short = Controller(policy_of(trained, planner=one))
    assert (expected.work, expected.info.iterations, expected.late) == (1, 1, False)
    assert np.isfinite(found).all() and np.abs(short.act(STREAM[0]) - found).max() < 2


def test_a_slow_planner_plays_the_rest_of_its_plan_and_then_the_prior(auto, reactive, compiled):
    """It is noticed late once; then every tick is in time, and planning is tried again."""
    controller, timer = auto
    controller.act(STREAM[0])
    plan = np.asarray(controller.state.plan.mean)
    timer.cost["first"] = 0.05
    controller.act(STREAM[1])  # who could have known
    assert controller.last.late and controller.last.source == "plan"
    plan = np.asarray(controller.state.plan.mean)
    found = [(controller.act(obs), controller.last) for obs in STREAM[2:7]]
    sources = [tick.source for _, tick in found]
    assert sources == ["shifted", "shifted", "prior", "prior", "prior"]
    np.testing.assert_array_equal([a for a, _ in found[:2]], plan[1:3])
    reactive.reset(0)
    np.testing.assert_allclose(found[2][0], reactive.act(STREAM[4]), atol=1e-6)
    assert not any(tick.late for _, tick in found)
    timer.cost["first"] = 0.004
    later = [
        controller.act(obs) is not None and controller.last.source for obs in STREAM.repeat(3, 0)
    ]
    assert later[-1] == "plan" and controller.counters["late"] == 1
    assert controller.last.work == 2 and compiled.count == 0


def test_when_nothing_fits_the_plan_is_played_and_nothing_computed(auto):
    controller, timer = auto
    controller.act(STREAM[0])
    begin = timer.now
    controller.act(STREAM[1], deadline_ms=0.1)
    assert (controller.last.source, controller.last.work) == ("shifted", -1)
    assert timer.now == begin and not controller.last.late
    controller.reset()
    controller.act(STREAM[1], deadline_ms=0.1)  # no plan either: the prior has to do
    assert controller.last.source == "prior" and controller.last.late


def test_a_tick_can_be_done_again_from_its_state_and_its_work(auto):
    controller, timer = auto
    controller.act(STREAM[0])
    state = controller.get_state()
    budgets = [9.0, 4.5, 0.1, 2.0, 9.0, 0.1, 0.1, 0.1, 9.0]
    then = [
        (controller.act(obs, now=1.0, deadline_ms=ms), controller.last)
        for obs, ms in zip(STREAM[1:], budgets, strict=False)
    ]
    assert len({tick.work for _, tick in then}) == 4
    timer.cost = dict.fromkeys(timer.cost, 5.0)
    controller.set_state(state)
    for obs, (action, tick) in zip(STREAM[1:], then, strict=False):
        np.testing.assert_array_equal(controller.act(obs, now=1.0, work=tick.work), action)
        assert (controller.last.source, controller.last.surprise) == (tick.source, tick.surprise)


def test_bad_observations_never_reach_the_model(planner):
    planner.reset(0)
    first = planner.act(STREAM[0])
    memory = planner.state
    for bad in (None, np.full(5, np.nan), np.zeros(3)):
        answer = planner.act(bad)
        assert planner.state is memory and planner.last.work == -1
    np.testing.assert_array_equal(answer, 0)  # the fallback; the first two held
    assert planner.last.state == "fallback" and not (first == 0).all()
    planner.rearm()


@pytest.mark.parametrize("mode", ["plan", "auto"])
def test_without_a_valid_plan_it_says_so_and_stops(mode, planner, auto, compiled):
    """Numbers that are finite and overflow in the model: held, handed on, stopped; never `ok`."""
    controller = planner if mode == "plan" else auto[0]
    controller.reset(0)
    last, huge = controller.act(STREAM[0]), np.full(5, 1e20, np.float32)
    memory, found = controller.state, []
    for _ in range(11):
        found.append((controller.act(huge), controller.last))
    assert [tick.source for _, tick in found] == ["hold"] * 2 + ["fallback"] * 7 + ["stop"] * 2
    assert all("no_plan" in tick.faults for _, tick in found[:-1])
    np.testing.assert_array_equal([a for a, _ in found], [last] * 2 + [controller.guard.zero] * 9)
    assert "no action sequence has a finite value" in controller.guard.stop_reason
    assert controller.guard.counters["fault/no_plan"] >= 10
    assert controller.state is memory, "nothing of such a tick stays"
    controller.rearm()
    controller.act(STREAM[0])
    assert controller.act(huge) is not None and controller.last.state == "hold"
    controller.act(STREAM[1])
    assert (controller.last.source, controller.last.state) == ("plan", "ok")
    assert controller.guard.why == "" and compiled.count == 0


def test_hundreds_of_messages_and_observations(planner, auto):
    """The soak of messages, shortened: none unsafe, none unexplained."""
    rng, controller = np.random.default_rng(3), auto[0]
    told = message_soak.messages(planner, 400, rng)
    shown = message_soak.observations(controller, 400, rng)
    vars(controller).pop("finish")
    controller.rearm()
    assert told["violations"] == [] == shown["violations"]
    acted = {"plan", "hold", "fallback", "stop"}
    assert set(told["answers"]) >= {*acted, "refused"}
    assert set(shown["sources"]) >= {*acted, "prior", "shifted"}


def test_after_a_gap_the_plan_is_moved_on_by_as_many_ticks(trained, planner, auto):
    """A gap is the same to a planner as ticks on which it had no time."""
    planner.reset(0)
    planner.act(STREAM[0])
    held = planner.act(None)
    after = planner.act(STREAM[2])
    assert planner.last.surprise == 0, "two ticks on, nothing was predicted"
    controller, _ = auto
    controller.act(STREAM[0])
    np.testing.assert_array_equal(controller.act(None), held)
    np.testing.assert_array_equal(controller.act(STREAM[2]), after)


def test_the_prior_can_be_the_fallback(trained, reactive):
    safety = SafetyConfig(fallback="prior", fallback_after=2)
    controller = made(trained, safety=safety).warmup()
    with counted() as compiled:
        controller.act(STREAM[3])
        answers = [controller.act(None) for _ in range(2)]
    reactive.reset(0)
    np.testing.assert_allclose(answers[1], reactive.act(STREAM[3]), atol=1e-6)
    assert controller.last.source == "fallback" and compiled.count == 0


@pytest.mark.parametrize(
    ("reaction", "states"),
    [
        ("off", ["ok"] * 5),
        ("report", ["ok"] * 5),
        ("fallback", ["ok", "hold", "hold", "fallback", "fallback"]),
        ("stop", ["ok", *["stopped"] * 4]),
    ],
)
def test_a_surprising_world_is_reacted_to_as_configured(trained, reaction, states):
    """Observations at random are nothing that a model predicts; the first has nothing to be
    compared with."""
    contract = replace(contract_for(trained), surprise=Surprise(1e-6, 1.0, 1.0, 1, 0, 1e-7))
    safety = SafetyConfig(surprise=reaction, surprise_after=1)
    controller, found = made(trained, "prior", contract, safety=safety), []
    for obs in STREAM[:5]:
        controller.act(obs)
        found.append(controller.last.state)
    assert found == states
    assert (controller.guard.counters["fault/surprise"] > 0) == (reaction != "off")


def test_parameters_that_are_not_finite_move_no_robot(trained):
    broken = jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), trained.params)
    for mode in ("plan", "prior"):
        controller = Controller(policy_of(trained, mode, params=broken))
        found = actions(controller)
        assert np.isfinite(found).all() and (np.abs(found) <= 1).all()


def test_a_run_and_a_checkpoint_are_loaded(tiny_run):
    run = Controller.load(str(tiny_run), mode="prior", seed=4)
    other = Controller.load(str(next((tiny_run / "checkpoints").iterdir())), mode="prior")
    assert run.contract == other.contract and run.seed == 4
    np.testing.assert_array_equal(run.act(STREAM[0]), other.act(STREAM[0]))


@pytest.mark.parametrize(
    "options", [{"mode": "fast"}, {"deadline_ms": -1.0}, {"deadline_ms": np.nan}, {"seed": -1}]
)
def test_impossible_settings_are_refused(trained, options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        made(trained, **options)


def test_hundreds_of_bad_ticks(tiny_run):
    """The soak of a controller, shortened."""
    result = soak(300, seed=2, path=str(tiny_run))
    assert result["violations"] == [] and result["compilations"] == 0
