"""The contract: it survives JSON, refuses what no controller could keep, and rebuilds the model."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest

from agents.deployment.contract import Contract, ContractError, Surprise
from agents.deployment.describe import contract_for, params_digest
from agents.runs import networks
from agents.runs.load import load
from agents.runs.settings import train_config_from
from envs.spec import Actuator, EnvSpec, Joint, Robot
from envs.tasks.base import Task, variant
from envs.tasks.engine import compile_model
from envs.tasks.interface import robot_of
from envs.tasks.suite.swing_up import Pendulum
from tests.soak.safety_soak import contract as example
from wm.tdmpc import learner

FULL = replace(
    example(2, 3.0),
    surprise=Surprise(0.5, 0.999, 1.5, 10, 20_000, 0.1),
    robot=Robot((Actuator("a", "rad", -2, 2), Actuator("b", "N m", -1, 1)), (Joint("j", "rad"),)),
    training={"env_steps": 5, "return": 1.5},
    versions={"jax": "1"},
    created="2026-01-31",
    expires="2026-07-31",
)


def as_text(contract):
    return json.loads(json.dumps(contract.to_json(), allow_nan=False))


@pytest.mark.parametrize("contract", [example(1, None), example(3, 2.0), FULL])
def test_it_survives_json(contract):
    assert Contract.from_json(as_text(contract)) == contract


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("env_id", None, "env_id"),
        ("format", 2, "format must be 1"),
        ("control_dt", 0.0, "control_dt must be positive"),
        ("control_dt", float("nan"), "control_dt must be positive"),
        ("control_dt", "fast", "control_dt"),
        ("action_repeat", 0, "action_repeat must be at least 1"),
        ("action_repeat", 1.5, "action_repeat"),
        ("max_obs_age", -1.0, "max_obs_age must be positive"),
        ("params_digest", "abc", "params_digest must be a SHA-256"),
        ("expires", "soon", "expires must be a day"),
        ("colour", "red", "unknown field colour"),
        ("obs.shape", [0], "obs.shape must be one positive size"),
        ("obs.shape", [7], "obs.names must add up to 7"),
        ("obs.dtype", "int8", "obs.dtype must be float32"),
        ("obs.low", [0.0], "obs.low must have 5 entries"),
        ("obs.high", [-9.0] * 5, r"obs.low\[0\] must be below obs.high\[0\]"),
        ("obs.colour", 1, "unknown field obs.colour"),
        ("action.low", [], "action.low must have an entry"),
        ("action.low", ["a", "b"], r"action.low"),
        ("action.high", [float("inf"), 1.0], r"action.high\[0\] must be finite"),
        ("action.safe", [5.0, 0.0], r"action.safe\[0\] must lie in"),
        ("action.rate", [0.0, 1.0], r"action.rate\[0\] must be positive"),
        ("surprise.threshold", 0.0, "surprise.threshold must be positive"),
        ("surprise", 3, "surprise must be a table"),
        ("robot.actuators", [], "robot.actuators must have 2 entries"),
        ("robot.actuators", [{"name": "a", "colour": 1}], "unknown field robot.actuators"),
        ("robot.joints", [{"name": "j"}], "robot.joints"),
    ],
)
def test_what_is_wrong_is_named(place, value, said):
    """One line with the file and the field."""
    data = as_text(FULL)
    block, _, name = place.rpartition(".")
    (data[block] if block else data)[name] = value
    with pytest.raises(ContractError, match=said) as caught:
        Contract.from_json(data, "there/contract.json")
    assert str(caught.value).startswith("there/contract.json: ") and "\n" not in str(caught.value)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("data", [None, [], "contract", 3])
def test_other_json_is_refused(data):
    with pytest.raises(ContractError, match="the contract must be a table"):
        Contract.from_json(data)


@pytest.mark.parametrize("name", ["env_id", "obs", "action", "settings"])
def test_what_is_missing_is_named(name):
    data = as_text(FULL)
    del data[name]
    with pytest.raises(ContractError, match=name):
        Contract.from_json(data)


def test_the_contract_of_a_model_is_enough_to_build_it_again(tiny_run):
    trained = load(str(tiny_run))
    contract = Contract.from_json(as_text(contract_for(trained)))
    assert contract.period == pytest.approx(0.02) and contract.obs.shape == (5,)
    assert contract.settings["run_dir"] == ""
    spec = EnvSpec.from_json(contract.spec)
    net = networks.build_networks(train_config_from(contract.settings, "contract.json"), spec)
    like = jax.eval_shape(lambda: learner.init(net, jax.random.key(0)).params)
    shapes = [jax.tree.map(lambda x: (x.shape, x.dtype), tree) for tree in (like, trained.params)]
    assert shapes[0] == shapes[1]


def test_the_contract_says_what_robot_it_is_for(tiny_run):
    """Of the cartpole: a motor whose gear makes 10 N of a control of 1."""
    robot = contract_for(load(str(tiny_run))).robot
    assert robot is not None
    assert [(a.name, a.unit, a.low, a.high) for a in robot.actuators] == [
        ("slide", "N", -10.0, 10.0)
    ]
    assert robot.joints == (Joint("slider", "m", -1.8, 1.8), Joint("hinge_1", "rad"))


ACTUATORS = {
    '<position joint="{}" kp="40" ctrlrange="-1 2"/>': ("{u}", -1, 2),
    '<position joint="{}" kp="40" gear="2" ctrlrange="-1 2"/>': ("{u}", -0.5, 1),
    '<velocity joint="{}" kv="3" ctrlrange="-1 2"/>': ("{u}/s", -1, 2),
    '<intvelocity joint="{}" kp="40" actrange="-1 1" ctrlrange="-1 2"/>': ("{u}/s", -1, 2),
    '<motor joint="{}" gear="-10" ctrlrange="-1 2"/>': ("{f}", -20, 10),
    '<general joint="{}" dyntype="filter" dynprm="1" ctrlrange="-1 2"/>': ("", -1, 2),
}


@pytest.mark.parametrize("kind", ["hinge", "slide"])
def test_units_and_ranges_are_those_at_the_joint(kind):
    made = "".join(text.format("j") for text in ACTUATORS)
    body = f'<body><joint name="j" type="{kind}"/><geom size="0.1"/></body>'
    xml = f"<mujoco><worldbody>{body}</worldbody><actuator>{made}</actuator></mujoco>"
    robot = robot_of(
        variant(Pendulum, load=lambda self: compile_model(xml), __init__=Task.__init__)()
    )
    units = {"u": "rad", "f": "N m"} if kind == "hinge" else {"u": "m", "f": "N"}
    for actuator, (unit, low, high) in zip(robot.actuators, ACTUATORS.values(), strict=True):
        assert actuator.unit == unit.format(**units)
        assert (actuator.low, actuator.high) == pytest.approx((low, high))
    assert robot.joints == (Joint("j", units["u"]),)


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({}, ""),
        ({"actuators": ["a", "b"], "joints": ["j"], "units": ["rad", "N m"], "rate_hz": 20}, ""),
        ({"actuators": ["b", "a"]}, "its actuators[0] is 'b', expected 'a'"),
        ({"actuators": ["a"]}, "it has 1 actuators, expected 2: a, b"),
        ({"units": ["rad", "N"]}, "its units[1] is 'N', expected 'N m'"),
        ({"joints": ["j", "k"]}, "it has 2 joints, expected 1: j"),
        ({"rate_hz": 30}, "it runs at 30 Hz, expected 20 Hz"),
    ],
)
def test_another_robot_is_told_from_it(stated, said):
    contract = replace(FULL, control_dt=0.05, action_repeat=1)
    assert contract.mismatch(stated) == said
    if "actuators" in stated:  # a contract without names knows their number
        count = len(stated["actuators"]) != 2
        assert bool(replace(contract, robot=None).mismatch(stated)) == count


def test_the_digest_is_of_names_shapes_types_and_values():
    params = {"b": np.arange(6, dtype=np.float32), "a": np.zeros((2, 2), np.float32)}
    digest = params_digest(params)
    assert digest == params_digest({"a": jax.numpy.zeros((2, 2)), "b": params["b"]})
    others = [
        {"c": params["b"], "a": params["a"]},
        {"b": params["b"].reshape(2, 3), "a": params["a"]},
        {"b": params["b"].astype(np.int32), "a": params["a"]},
        {"b": np.nextafter(params["b"], 9, dtype=np.float32), "a": params["a"]},
    ]
    assert len({digest, *map(params_digest, others)}) == 5
