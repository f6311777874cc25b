"""Matrix products in bfloat16: parameters, statistics and losses stay in float32."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from wm.tdmpc import learner
from wm.tdmpc import model as tdmpc
from wm.tdmpc.config import LearnerConfig, ModelConfig
from wm.tdmpc.losses import Batch
from wm.types import Spec

SMALL = ModelConfig(encoder_width=32, mlp_width=32, latent_dim=16, num_bins=21)
B, T, OBS, ACT = 8, 3, 5, 2


def build(compute):
    config = replace(SMALL, compute=compute)
    return tdmpc.build(config, LearnerConfig(batch_size=B), Spec(OBS, ACT, 0.99))


def batch():
    rng = np.random.default_rng(0)
    return Batch(
        obs=jnp.asarray(rng.normal(size=(B, T + 1, OBS)), jnp.float32),
        action=jnp.asarray(rng.uniform(-1, 1, (B, T, ACT)), jnp.float32),
        reward=jnp.asarray(rng.uniform(0, 1, (B, T)), jnp.float32),
        terminated=jnp.zeros((B, T)),
        mask=jnp.ones((B, T)),
    )


def test_products_alone_are_in_bfloat16():
    half, full = build("bfloat16"), build("float32")
    params, other = (jax.jit(partial(tdmpc.init, net))(jax.random.key(0)) for net in (full, half))
    jax.tree.map(np.testing.assert_array_equal, params, other)
    obs = batch().obs[0]
    text = str(jax.make_jaxpr(half.encode)(params, obs))
    assert "bf16" in text
    assert "bf16" not in str(jax.make_jaxpr(full.encode)(params, obs))
    one, other = (jax.jit(net.encode)(params, obs) for net in (full, half))
    assert one.dtype == other.dtype == jnp.float32
    np.testing.assert_allclose(other, one, atol=5e-3)
    assert (one != other).any()


def test_learning_keeps_float32_and_goes_the_same_way():
    losses = {}
    for compute in ("float32", "bfloat16"):
        net = build(compute)
        state = jax.jit(partial(learner.init, net))(jax.random.key(0))
        step = jax.jit(partial(learner.update, net))
        for i in range(40):
            state, metrics = step(state, batch(), jax.random.key(i))
        assert {x.dtype for x in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}
        losses[compute] = float(metrics["loss/reward"])
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.1)


def test_unknown_types_are_refused():
    with pytest.raises(
        ValueError, match=r"model\.compute must be one of float32, bfloat16, got 'int8'"
    ):
        replace(SMALL, compute="int8")
