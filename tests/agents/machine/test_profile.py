"""Counting operations, the cost model, and the profile of a training."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest

from agents.machine import cost
from agents.machine.config import ProfileConfig
from agents.runs.config import ConfigError
from planning.config import PlannerConfig
from scripts.cli import main
from tests.speed import predicted, single_parts
from wm.tdmpc import learner
from wm.tdmpc import model as tdmpc
from wm.tdmpc.config import PRESETS, LearnerConfig
from wm.types import Spec

NET = tdmpc.build(PRESETS["tiny"], LearnerConfig(), Spec(17, 6, 0.99))


def test_products_are_counted_as_often_as_they_run():
    weight, rows = jnp.ones((8, 8)), jnp.ones((4, 8))

    def three(x):
        return jax.lax.scan(lambda x, _: (jnp.tanh(x @ weight), None), x, None, length=3)[0]

    one = 2 * 4 * 8 * 8
    assert cost.products(lambda x: x @ weight, rows) == one
    assert cost.products(three, rows) == 3 * one
    assert cost.products(jax.jit(three), rows) == 3 * one
    assert cost.products(jax.vmap(three), jnp.ones((5, 4, 8))) == 15 * one
    both = lambda x: jax.lax.cond(x.sum() > 0, three, lambda x: x, x)  # noqa: E731
    assert cost.products(both, rows) == 3 * one
    grad = jax.grad(lambda x: (x @ weight).sum())
    assert cost.products(grad, rows) == 2 * one


def shapes_of_parameters():
    return jax.eval_shape(lambda: learner.init(NET, jax.random.key(0)).params)


def test_a_plan_costs_what_its_formula_says():
    """Counted off the program, against the sum over samples, horizon and iterations."""
    params = shapes_of_parameters()
    for config in (PlannerConfig(), PlannerConfig.full()):
        counted = cost.plan(NET, config) / 1e9
        assert counted == pytest.approx(single_parts.plan_gflop(NET, params, config), rel=0.06)
    one, many = (predicted.plan(NET, PlannerConfig(), sims) for sims in (1, 64))
    assert many.flop == pytest.approx(64 * one.flop) and many.bytes < 64 * one.bytes  # of weights


def test_an_update_costs_in_proportion_to_its_batch():
    one, two = predicted.update(NET), predicted.update(NET, 256)
    assert two.flop == pytest.approx(2 * one.flop)
    per_row = 2 * single_parts.dense_macs(shapes_of_parameters()) * 128 * 3
    assert 2 * per_row < one.flop < 6 * per_row  # forward, backward, targets, prior
    assert two.bytes < 2 * one.bytes


def test_what_limits_a_cluster_is_named():
    """More devices divide the batch but not the updates, whose launches remain."""
    machine = predicted.ASSUMED
    small = [
        predicted.predict(NET, PlannerConfig(), machine, n, 256, 256.0 * n) for n in (1, 8, 64)
    ]
    assert all(p.limit == "updates one after another" for p in small)
    assert small[2].decisions_per_s < 1.5 * small[0].decisions_per_s  # does not scale
    few = [predicted.predict(NET, PlannerConfig(), machine, n, 256, 1.0) for n in (1, 8, 64)]
    assert few[2].decisions_per_s > 30 * few[0].decisions_per_s  # does
    fast = replace(machine, device=replace(machine.device, launch=0.0), latency=0.0)
    large = tdmpc.build(PRESETS["317M"], LearnerConfig(batch_size=256), Spec(17, 6, 0.99))
    assert (
        predicted.predict(large, PlannerConfig(), fast, 64, 8, 512.0).limit == "sums of gradients"
    )


def test_settings_that_cannot_be_are_refused(capsys):
    with pytest.raises(ConfigError, match=r"cycles must lie in \[1, "):
        ProfileConfig(cycles=0)
    assert main(["profile"]) == 2
    assert "profile what?" in capsys.readouterr().err
    assert main(["profile", "cartpole-swingin"]) == 2
    assert main(["profile", "cartpole-swingup", "--preset", "huge"]) == 2


@pytest.mark.slow
def test_a_profile_is_complete(tmp_path, capsys):
    out = tmp_path / "profile.json"
    flags = ["--cycles", "5", "--sims", "4", "--out", str(out), "--json"]
    assert main(["profile", "cartpole-swingup", *flags]) == 0
    result = json.loads(capsys.readouterr().out)
    assert json.loads(out.read_text()) == result
    assert result["ms"].keys() == {"simulate", "plan", "learn", "copy"}
    assert all(ms > 0 for ms in result["ms"].values())
    assert result["cycle_ms"]["host"] > 0 and result["cycle_ms"]["fused"] > 0
    assert 0 < result["share_of_matmul"]["plan"] < 1.5
    assert result["gflop"]["plan"] > 0.01
