"""Distances to goals are a quasimetric, and lopsided embeddings come out even."""

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.goals import model as goal_model
from agents.goals.config import GoalHeadsConfig
from agents.goals.model import GoalHeads, load_goal_heads, save_goal_heads
from agents.goals.networks import UNIT, GoalPolicy, distances, start, whitening
from agents.runs.config import ConfigError

DIM = 5


@pytest.fixture(scope="module")
def places():
    """Embeddings that hide small directions beside large ones."""
    key, turn = jax.random.split(jax.random.key(0))
    spread = jnp.asarray([4.0, 1.0, 0.3, 0.1, 0.1])
    axes = jnp.linalg.qr(jax.random.normal(turn, (DIM, DIM)))[0]
    return jax.random.normal(key, (4000, DIM)) * spread[None] @ axes + 3.0


def evened(places):
    layer = whitening(places)
    return np.asarray(places @ layer["kernel"] + layer["bias"][None])


def test_directions_come_out_even(places):
    even = evened(places)
    np.testing.assert_allclose(even.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(np.cov(even.T), np.eye(DIM), atol=1e-2)


def test_a_direction_without_spread_is_not_blown_up(places):
    flat = places.at[:, 0].set(2.0)
    assert np.isfinite(whitening(flat)["kernel"]).all()
    assert np.abs(evened(flat)).max() < 10


def test_distances_are_a_quasimetric(places):
    """None negative, next to none to oneself, none longer than a way around, and not symmetric."""
    network = distances(16)
    params = start(network, jax.random.key(1), places)

    @jax.jit
    def away(a, b):
        return network.apply({"params": params}, a, b)

    a, b, c = places[:500], places[500:1000], places[1000:1500]
    assert away(a, b).shape == (2, 500)
    assert (away(a, b) >= 0).all()
    assert (away(a, a) <= 1e-2 * UNIT).all()
    assert (away(a, c) <= away(a, b) + away(b, c) + 1e-4).all()
    assert np.abs(away(a, b) - away(b, a)).max() > 0.1


def test_actions_are_within_their_limits(places):
    network = GoalPolicy(16, 4)
    params = start(network, jax.random.key(2), places)
    action = jax.jit(network.apply)({"params": params}, 9 * places[:50], places[50:100])
    action = np.asarray(action)
    assert action.shape == (50, 4)
    assert (np.abs(action) <= 1).all()


def test_goal_heads_of_another_model_or_version_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "checkpoints" / "000000001"
    path.mkdir(parents=True)
    (path / "MANIFEST.json").write_text("{}")
    trained: Any = SimpleNamespace(path=path, spec=None)
    save_goal_heads(trained, GoalHeads(GoalHeadsConfig(width=8), {"critic": {"w": jnp.ones(2)}}))
    found = load_goal_heads(trained)
    assert found is not None and found.config.width == 8
    monkeypatch.setattr(goal_model, "NETWORKS", "of a later version")
    with pytest.raises(ConfigError, match=r"earlier version: type `latentmpc distill .*000000001`"):
        load_goal_heads(trained)
    (path / "MANIFEST.json").write_text("{ }")
    with pytest.raises(ConfigError, match="for another model"):
        load_goal_heads(trained)
